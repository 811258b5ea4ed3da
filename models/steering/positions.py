"""Which tokens are steered: one definition for likelihoods and for generation.

A token is named by its index in the request's own text, 0 being the first token of the prompt;
the prompt has `length` tokens, of which the first `unsteered_prefix` (BOS, few-shot text) are never
steered. Padding has no index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from steereval.common.errors import InputError

NAMED = ("generated", "all", "prompt", "prompt-last", "continuation")
_RANGE = re.compile(r"(-?\d+)?:(-?\d+)?")


@dataclass(frozen=True)
class Positions:
    """A rule that says which tokens are steered."""

    rule: str
    """`generated` (the last prompt token and every later one: the default), `all`, `prompt`,
    `prompt-last`, `continuation`, or a range `a:b` of prompt tokens as in Python's slices,
    counted from the first token that is not unsteered_prefix."""

    def __post_init__(self) -> None:
        """Raise InputError for an unknown rule."""
        if self.rule not in NAMED and not (":" in self.rule and _RANGE.fullmatch(self.rule)):
            raise InputError(
                f"unknown positions {self.rule!r}",
                f"Use one of {', '.join(NAMED)}, or a range such as 0:4 or -3:.",
            )

    @property
    def reaches_into_prompt(self) -> bool:
        """Whether the rule may steer prompt tokens before the last one."""
        return self.rule not in ("generated", "prompt-last", "continuation")

    def interval(self, length: int, unsteered_prefix: int) -> tuple[int, int | None]:
        """First steered index, and the index after the last one (None: no end).

        `length`: prompt tokens; `unsteered_prefix`: leading tokens that are never steered.
        """
        first, end = self._interval_unshielded(length, unsteered_prefix)
        return max(first, unsteered_prefix), end

    def _interval_unshielded(self, length: int, unsteered_prefix: int) -> tuple[int, int | None]:
        if self.rule == "generated":
            return length - 1, None
        if self.rule == "all":
            return unsteered_prefix, None
        if self.rule == "prompt":
            return unsteered_prefix, length
        if self.rule == "prompt-last":
            return length - 1, length
        if self.rule == "continuation":
            return length, None
        start_text, end_text = self.rule.split(":")
        bounds = slice(int(start_text) if start_text else None, int(end_text) if end_text else None)
        start, stop, _ = bounds.indices(max(length - unsteered_prefix, 0))
        return unsteered_prefix + start, unsteered_prefix + stop
