"""distinct-n: the share of a text's n-grams that are not repeats (Li et al. 2016, per response)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def distinct_n(text: str, n: int) -> float:
    """Different n-grams over all n-grams of `text`, in [0, 1]; tokens are split at white space.

    A text of fewer than n tokens has no n-gram and scores 0, so that an empty or one-word
    response never counts as diverse.
    """
    tokens = text.split()
    grams = list(zip(*(tokens[start:] for start in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 0.0


def distinct_scores(text: str) -> dict[str, float]:
    """distinct_1, distinct_2 and distinct_3 of one response."""
    return {f"distinct_{n}": distinct_n(text, n) for n in (1, 2, 3)}


def score_response(_: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The scores of the one response in `results`, as lm-eval's `process_results`."""
    return distinct_scores(results[0].strip())
