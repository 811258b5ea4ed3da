"""Judges that answer by one word: the probability of " yes" against " no" as the next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from steereval.common.errors import ModelError
from steereval.models.judges.engine import Pair, Scores, TextModel


@dataclass
class YesNo(TextModel):
    """A causal language model that goes on with " yes" or " no"."""

    def score(self, pairs: Sequence[Pair]) -> list[Scores]:
        """For each pair, whose second text is empty, the probabilities of " yes" and " no" after
        the first. Raises ModelError for a tokenizer to which both begin alike.

        A prompt that is longer than the model's window loses its beginning.
        """
        rows = [self.whole(prompt)[-self.longest :] for prompt, _ in pairs]
        if not rows:
            return []
        # After the words of the last prompt alone: how " yes" is cut depends on what it follows.
        yes, no = (self.next_token(pairs[0][0], word) for word in (" yes", " no"))
        if yes == no:
            raise ModelError(
                f"the judge's tokenizer begins ' yes' and ' no' with the same token {yes}",
                "Choose a judge that was trained to answer yes or no.",
            )

        def answer(_: int, logits: Tensor) -> Scores:
            shares = logits[-1].float().softmax(dim=-1)
            return float(shares[yes]), float(shares[no])

        return self.read(rows, answer)

    def next_token(self, prompt: str, word: str) -> int:
        """The first token of `word` where it follows `prompt`."""
        before, after = self.tokens(prompt), self.tokens(prompt + word)
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before)
        )
        return after[shared]
