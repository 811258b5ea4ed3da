"""Common base of judges' models: pairs of texts in, a few numbers for each pair out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from steereval.models.inference.memory import Batches

Pair = tuple[str, str]
"""A context, which may be empty, and a text."""
Scores = tuple[float, ...]


class Engine(Protocol):
    """Makes numbers of texts."""

    def score(self, pairs: Sequence[Pair]) -> list[Scores]:
        """The numbers of each pair, in order."""
        ...


@dataclass
class TextModel:
    """A model with its tokenizer, asked in batches of texts of about the same length."""

    model: Any
    """A Transformers model in evaluation mode."""
    tokenizer: Any
    """Its tokenizer."""
    batch_size: int
    """Texts that are read together at most."""
    batches: Batches = field(default_factory=Batches)
    """The batch size that fitted."""

    @property
    def longest(self) -> int:
        """Tokens that the model can read at once."""
        text = self.model.config.get_text_config()
        return int(getattr(text, "max_position_embeddings", None) or 2**20)

    def tokens(self, text: str) -> list[int]:
        """The tokens of `text` alone, without any that the tokenizer adds."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def whole(self, text: str) -> list[int]:
        """The tokens of `text` with what the tokenizer adds, such as the beginning of a text."""
        ids: list[int] = self.tokenizer(text)["input_ids"]
        return ids

    def read(
        self,
        rows: Sequence[Sequence[int]],
        answer: Callable[[int, Tensor], Scores],
        fill: int | None = 0,
    ) -> list[Scores]:
        """Results of `answer` for each of `rows` of tokens, in their order.

        It is given the row's number and the model's logits for it, without those of the filling.
        Rows are filled up on the right with the token `fill`; None: each is read by itself.
        """
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))

        def batch(positions: range) -> list[Scores]:
            chosen = [order[position] for position in positions]
            logits = self._logits([rows[i] for i in chosen], fill or 0)
            return [answer(i, row_logits) for i, row_logits in zip(chosen, logits, strict=True)]

        limit = self.batch_size if fill is not None else 1
        parts = self.batches.run(len(rows), limit, batch)
        scores = dict(zip(order, (each for part in parts for each in part), strict=True))
        return [scores[i] for i in range(len(rows))]

    def _logits(self, rows: Sequence[Sequence[int]], fill: int) -> list[Tensor]:
        """Logits [tokens, vocabulary] of each row, or [labels] of a classifier."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), fill)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for row_index, row in enumerate(rows):
            ids[row_index, : len(row)] = torch.tensor(row)
            mask[row_index, : len(row)] = 1
        device = self.model.device
        with torch.inference_mode():
            logits = self.model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        if logits.ndim == 2:
            return list(logits)
        return [row_logits[: len(row)] for row_logits, row in zip(logits, rows, strict=True)]
