"""Reward models: a sequence classifier with one output, on prompt and response as a chat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from steereval.common.errors import ModelError
from steereval.models.judges.engine import Pair, Scores, TextModel


@dataclass
class Reward(TextModel):
    """A sequence classifier of one output, trained on chats."""

    def score(self, pairs: Sequence[Pair]) -> list[Scores]:
        """The reward of each pair (prompt, response).

        Raises ModelError for a model of several outputs or a tokenizer without a chat template.
        """
        if self.model.config.num_labels != 1:
            raise ModelError(
                f"the reward model has {self.model.config.num_labels} outputs",
                "Choose a sequence classifier with one.",
            )
        if not self.tokenizer.chat_template:
            raise ModelError(
                "the reward model's tokenizer has no chat template", "Choose one that has."
            )
        rows = [self.chat(*pair) for pair in pairs]
        # The model itself finds a row's last token by its own filling, and only by that.
        fill = self.model.config.get_text_config().pad_token_id
        return self.read(rows, _single, fill)

    def chat(self, prompt: str, response: str) -> list[int]:
        """The tokens of both as a chat: those of the template alone, which has what begins a text
        where the model was trained with it."""
        turns = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        return self.tokens(str(self.tokenizer.apply_chat_template(turns, tokenize=False)))


def _single(_: int, logits: Tensor) -> Scores:
    return (float(logits[0].float()),)
