"""The conclusion of a run's comparisons: the same for headline, questions and terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steereval.results.analysis import verdicts, wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.verdicts import IMPROVEMENTS, oriented

MOST_NAMED = 3
"""Comparisons that a sentence names; of more it names the clearest."""


NOT_TESTED = "not tested"
COLLAPSED = "collapsed"


@dataclass(frozen=True)
class Conclusion:
    """Confirmatory comparisons, by what they show."""

    compared: tuple[Row, ...]
    """All that could be tested, the clearest gain first."""

    gains: tuple[Row, ...]
    """Verdicts "better", likewise."""

    losses: tuple[Row, ...]
    """Verdicts "worse"."""

    collapsed: tuple[Row, ...]
    """Those at whose own strength the arm's texts collapse."""

    @property
    def best(self) -> Row:
        """The clearest gain, or where there is none the most favourable comparison."""
        return self.compared[0]


def conclusion(rows: Sequence[Row]) -> Conclusion:
    """The conclusion of the rows that were compared."""
    compared = sorted((row for row in rows if row.comparison is not None), key=_unclear)
    return Conclusion(
        compared=tuple(compared),
        gains=tuple(row for row in compared if _word(row) in IMPROVEMENTS),
        losses=tuple(row for row in compared if _word(row) == verdicts.WORSE),
        collapsed=tuple(row for row in compared if row.is_collapsed),
    )


def short_verdict(rows: Sequence[Row], baseline: str) -> tuple[str, ...]:
    """The verdict on a run in a few short sentences, its harm right behind its gain.

    Args:
        rows: All rows of the leaderboard.
        baseline: Label of the method that the others are compared with.
    """
    confirmatory = [row for row in rows if row.is_confirmatory]
    result = conclusion(confirmatory)
    if not confirmatory:
        return ("No method is compared on a target task.",)
    if not result.compared:
        return (f"Nothing could be compared with “{baseline}”.",)
    several = len({row.model for row in confirmatory}) > 1
    return (_gain_sentence(result, baseline, several), *_harm_sentences(result, rows, several))


def verdict_words(row: Row) -> str:
    """The verdict, with what it cost: "better, but collapsed"."""
    if row.is_baseline:
        return "baseline"
    if row.verdict is None:
        return NOT_TESTED
    if not row.is_collapsed:
        return row.verdict.word
    joint = ", but" if row.verdict.word in IMPROVEMENTS else " and"
    return f"{row.verdict.word}{joint} {COLLAPSED}"


def clearness(row: Row) -> float:
    """How clear a gain is: over its standard error; infinite where nothing varies."""
    assert row.comparison is not None
    effect = oriented(row.comparison.effect, row.metric)
    if not 0.0 < effect.se < math.inf:
        return math.copysign(math.inf, effect.estimate) if effect.estimate else 0.0
    return effect.estimate / effect.se


def _gain_sentence(result: Conclusion, baseline: str, several: bool) -> str:
    n, gains = len(result.compared), result.gains
    if not gains:
        which = "the one comparison" if n == 1 else f"{n} comparisons"
        return f"No improvement is shown in {which} with “{baseline}”."
    if len(gains) == n == 1:
        return f"{gains[0].arm.method} improves {gains[0].task.name}: {_difference(gains[0])}."
    verb = "shows" if len(gains) == 1 else "show"
    text = f"{len(gains)} of {n} comparisons with “{baseline}” {verb} an improvement"
    return f"{text}: {_named(gains, several)}."


def _harm_sentences(result: Conclusion, rows: Sequence[Row], several: bool) -> Iterator[str]:
    if result.losses:
        verb = "does" if len(result.losses) == 1 else "do"
        yield f"{len(result.losses)} {verb} harm: {_places(result.losses, several)}."
    side_rows = [row for row in rows if not row.task.is_target and row.is_primary]
    lost = tuple(row for row in side_rows if _word(row) == verdicts.WORSE)
    if lost:
        yield f"Capability is lost: {_places(lost, several)}."
    if result.collapsed:
        names = _places(result.collapsed, several)
        yield f"Texts collapse at the strength reported: {names}."


def _places(rows: Sequence[Row], several: bool) -> str:
    """ "caa and iti on truth; caa on toxicity"; of many the first, and how many more."""
    by_task: dict[str, list[str]] = {}
    for row in rows[:MOST_NAMED]:
        method, _, task = _name(row, several).partition(" on ")
        by_task.setdefault(task, []).append(method)
    text = "; ".join(f"{wording.joined(methods)} on {task}" for task, methods in by_task.items())
    return text if len(rows) <= MOST_NAMED else f"{text} and {len(rows) - MOST_NAMED} more"


def _named(rows: Sequence[Row], several: bool) -> str:
    names = [f"{_name(row, several)} ({_difference(row)})" for row in rows[:MOST_NAMED]]
    if len(rows) > MOST_NAMED:
        return f"the clearest is {names[0]}"
    return ", ".join(names)


def _name(row: Row, several: bool) -> str:
    where = f" of {row.model}" if several else ""
    strength = row.name.removeprefix(row.arm.label)
    return f"{row.arm.method}{strength} on {row.task.name}{where}"


def _difference(row: Row) -> str:
    assert row.comparison is not None
    return wording.difference(row.comparison.effect, row.metric)


def _word(row: Row) -> str:
    return "" if row.verdict is None else row.verdict.word


def _unclear(row: Row) -> tuple[bool, float]:
    return _word(row) not in IMPROVEMENTS, -clearness(row)
