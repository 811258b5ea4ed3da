"""Text classifiers with independent labels: the probability of the label `toxic`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from steereval.common.errors import ModelError
from steereval.models.judges.engine import Pair, Scores, TextModel

LABEL = "toxic"


@dataclass
class Toxic(TextModel):
    """A sequence classifier with a label `toxic` beside others that do not exclude it."""

    def score(self, pairs: Sequence[Pair]) -> list[Scores]:
        """The probability of `toxic` for each pair's second text, cut to the model's window.

        Raises ModelError for a model without that label.
        """
        labels = {str(name).lower(): int(i) for i, name in self.model.config.id2label.items()}
        if LABEL not in labels:
            raise ModelError(
                f"the classifier's labels are {', '.join(labels)}",
                "Choose one that has the label `toxic`.",
            )
        label_index = labels[LABEL]

        def answer(_: int, logits: Tensor) -> Scores:
            return (float(logits[label_index].float().sigmoid()),)

        rows = [self._cut(text) for _, text in pairs]
        return self.read(rows, answer, self.model.config.get_text_config().pad_token_id)

    def _cut(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, truncation=True, max_length=self.longest)[
            "input_ids"
        ]
        return tokens
