"""About how much text contrast sets on public data hold, for a plan where they are not at hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ContrastSize:
    """How much there is to read activations from."""

    statements: int
    """How many there are."""
    tokens: int
    """Of a statement with its question: a mean. TruthfulQA's was counted (SmolLM2's tokenizer);
    the others are rounded from the lengths of the texts."""


CONTRAST_SIZES = {
    "truthfulqa": ContrastSize(statements=6_204, tokens=29),
    "ultrafeedback": ContrastSize(statements=20_000, tokens=500),
    "jigsaw": ContrastSize(statements=10_000, tokens=100),
}
"""By the names of contrast sets."""
