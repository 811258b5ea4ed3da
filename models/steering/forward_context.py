"""Which intervention acts on each token of a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class ForwardContext:
    """Input of the hooks for one forward pass over tokens [rows, length]."""

    assigned: Tensor
    """Index of the intervention that acts on each token, -1 for none; int64 [rows, length]."""
    query: Tensor | None = None
    """Index of each token's query, int64 [rows, length]; needed by per-query steerers."""
    prompt_last: Tensor | None = None
    """Row and column [queries, 2] of each query's last prompt token, where in this pass."""
    keys: Sequence[str] = ()
    """Name of each query in `prompt_last`."""
    _tokens: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = field(
        default_factory=dict, repr=False
    )

    @cached_property
    def counts(self) -> dict[int, int]:
        """Tokens under each intervention that acts in this pass."""
        indices, counts = torch.unique(self.assigned, return_counts=True)
        return {i: n for i, n in zip(indices.tolist(), counts.tolist(), strict=True) if i >= 0}

    def everywhere(self, index: int) -> bool:
        """Whether intervention `index` acts on every token of the pass."""
        return self.counts.get(index) == self.assigned.numel()

    def tokens(self, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows and columns of the tokens under intervention `index`."""
        if (index, device) not in self._tokens:
            rows, columns = torch.nonzero(self.assigned == index, as_tuple=True)
            self._tokens[index, device] = rows.to(device), columns.to(device)
        return self._tokens[index, device]
