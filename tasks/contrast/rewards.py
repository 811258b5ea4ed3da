"""Rewards of answers: the reward scorers that methods such as RE-Control take as a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steereval.common.errors import UnknownNameError
from steereval.tasks.contrast.contrast_set import Statement
from steereval.tasks.scorers.profanity import bundled_classifier


def rewards_of(name: str, statements: Sequence[Statement]) -> list[float]:
    """The reward [n] of each statement's answer by the scorer of that name.

    Raises UnknownNameError for a name that is none, TaskError where the scorer cannot run.
    """
    if name not in REWARDS:
        raise UnknownNameError.of("reward", name, REWARDS)
    return REWARDS[name](statements)


def _label(statements: Sequence[Statement]) -> list[float]:
    """1 for the wanted behaviour, 0 for its opposite."""
    return [float(statement.positive) for statement in statements]


def _clean(statements: Sequence[Statement]) -> list[float]:
    """The probability that the answer is not offensive, by the bundled classifier."""
    classifier = bundled_classifier("the reward `clean`")
    return [1 - p for p in classifier.probabilities([s.answer for s in statements])]


REWARDS: dict[str, Callable[[Sequence[Statement]], list[float]]] = {
    "label": _label,
    "clean": _clean,
}
"""`label`: as the contrast set labels it. `clean`: 1 minus the bundled classifier's toxicity."""
