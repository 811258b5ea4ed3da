"""Inputs of a model for a packed row, and the check that a model can take one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steereval.common.errors import CellError
from steereval.models.inference.prefix_tree import PackedRow, Request
from steereval.models.steering.forward_context import ForwardContext


def packed_inputs(model: nn.Module, pack: PackedRow, prefix: int = 0) -> dict[str, Any]:
    """Tokens, positions and mask of `pack`, which stands after `prefix` cached tokens."""
    device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    before = torch.ones(len(pack.tokens), prefix, dtype=torch.bool)
    visible = torch.cat([before, torch.from_numpy(pack.visible)], dim=1)
    return {
        "input_ids": torch.from_numpy(pack.tokens)[None].to(device),
        "position_ids": torch.from_numpy(pack.depths)[None].to(device),
        "attention_mask": _mask(model, visible)[None, None].to(device),
    }


def packed_context(
    pack: PackedRow, requests: Sequence[Request], device: torch.device
) -> ForwardContext:
    """The intervention on each token of `pack`, and the query of each token that has one."""
    assigned = torch.from_numpy(pack.assigned)[None]
    present = np.unique(pack.query_ids[pack.query_ids >= 0])
    if len(present) == 0:
        return ForwardContext(assigned)
    ends = [len(requests[query_id].context) - 1 for query_id in present]
    last = [
        np.flatnonzero((pack.query_ids == query_id) & (pack.depths == end))[0]
        for query_id, end in zip(present, ends, strict=True)
    ]
    query = torch.from_numpy(np.searchsorted(present, pack.query_ids))
    return ForwardContext(
        assigned,
        query[None].to(device),
        torch.tensor([[0, int(column)] for column in last], device=device),
        [requests[query_id].key for query_id in present],
    )


def check_steered(
    pack: PackedRow, shared_prefix: Sequence[tuple[int, int]], requests: Sequence[Request]
) -> None:
    """Hold a packed row against its requests.

    Args:
        pack: The row.
        shared_prefix: (token id, intervention) of the tokens before it.
        requests: The requests that `pack.answers` refers to.

    Raises:
        CellError: The text before a predicted token has another number of steered tokens than its
            request asks for, or some under another request's intervention.
    """
    start = _UNSTEERED
    for _, index in shared_prefix:
        start = _followed(start, index)
    steered: list[tuple[int, int]] = []
    for parent, index in zip(pack.parents.tolist(), pack.assigned.tolist(), strict=True):
        steered.append(_followed(steered[parent] if parent >= 0 else start, index))
    for row, number, index in pack.answers:
        request = requests[number]
        expected = request.steered_among(len(request.context) + index)
        if steered[row] != ((request.intervention, expected) if expected else _UNSTEERED):
            raise CellError(
                f"{steered[row][1]} tokens of a packed text are steered under intervention "
                f"{steered[row][0]}; its request asks for {expected} under {request.intervention}",
                "This is a fault of steereval; use path=plain until it is repaired.",
            )


_UNSTEERED = (-1, 0)
"""Intervention and number of the steered tokens of a text without any."""
_MIXED = -2
"""Stands for several interventions in one text."""


def _followed(text: tuple[int, int], index: int) -> tuple[int, int]:
    """Intervention and steered tokens of `text` with one more token under `index`."""
    if index < 0:
        return text
    intervention, count = text
    return (index if intervention in (-1, index) else _MIXED), count + 1


def _mask(model: nn.Module, visible: Tensor) -> Tensor:
    """The mask in the form that the model's attention takes: eager attention adds it."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    if getattr(config, "_attn_implementation", None) != "eager":
        return visible
    dtype: torch.dtype = model.dtype  # type: ignore[assignment]
    return torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def masks_by_index(model: nn.Module) -> bool:
    """Whether attention layers keep a mask of their own, by index in the row.

    Such a mask has a fixed size, and a local one (GPT-Neo) ignores depths.
    """
    return any(
        "attn" in name and buffer.dtype == torch.bool and buffer.ndim >= 2
        for name, buffer in model.named_buffers()
    )
