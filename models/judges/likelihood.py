"""The likelihood of a text after its context, under a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steereval.models.judges.engine import Pair, Scores, TextModel


@dataclass
class Likelihood(TextModel):
    """A causal language model."""

    def score(self, pairs: Sequence[Pair]) -> list[Scores]:
        """For each pair the log-likelihood of the second text after the first, in nats, and its
        number of tokens.

        Both texts are cut into tokens by themselves. A first text that is empty is replaced by the
        beginning of a text. What does not fit the window is left out: the context's beginning, or
        the text's end. An empty text has no tokens and the log-likelihood 0.
        """
        parts = [self._tokens(*pair) for pair in pairs]
        filled = [i for i, (_, tokens) in enumerate(parts) if tokens]
        rows = [[*parts[i][0], *parts[i][1]] for i in filled]

        def answer(row: int, logits: Tensor) -> Scores:
            context, tokens = parts[filled[row]]
            scores = logits[len(context) - 1 : -1].float().log_softmax(dim=-1)
            chosen = scores.gather(1, torch.tensor(tokens, device=scores.device)[:, None])
            return float(chosen.double().sum()), float(len(tokens))

        likelihoods: list[Scores] = [(0.0, 0.0)] * len(pairs)
        for i, scores in zip(filled, self.read(rows, answer), strict=True):
            likelihoods[i] = scores
        return likelihoods

    def _tokens(self, context: str, text: str) -> tuple[list[int], list[int]]:
        """The tokens of both that are read; at least one of the context."""
        tokens = self.tokens(text)[: self.longest - 1]
        before = self.tokens(context) or [self._beginning]
        return before[-(self.longest - len(tokens)) :], tokens

    @property
    def _beginning(self) -> int:
        tokenizer = self.tokenizer
        known = (tokenizer.bos_token_id, tokenizer.eos_token_id, 0)
        return next(token for token in known if token is not None)
