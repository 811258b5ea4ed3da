"""Collapse as a table and as sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.collapse import Collapse
from steereval.results.analysis.strength_response import StrengthPoint
from steereval.results.report.tables.leaderboard import score_words
from steereval.results.report.tables.table import Column, Entry, ReportTable

RULE = (
    "A metric has collapsed from the smallest strength on from which it has lost more than half of "
    "its unsteered value (a perplexity: more than doubled) at all larger strengths too, each time "
    "with an interval that excludes no loss."
)

_ABSENT = Entry("–", -math.inf)


def collapse_table(collapses: Sequence[Collapse]) -> ReportTable:
    """One line an arm and companion, of one model and task."""
    first = collapses[0]
    columns = (
        Column("Method"),
        Column("Metric"),
        Column("Unsteered", True),
        Column("Collapses from", True, "Smallest strength from which on it has collapsed"),
        Column("Score there", True),
        Column("Difference there", True, "To the baseline, paired by item and seed"),
        Column("Target there", True, "What the method is meant to improve, at the same strength"),
        Column("Strengths", help="Positive strengths that were measured"),
    )
    caption = f"Collapse: {first.model}, {first.task.name}"
    name = f"{slug(first.model, first.task.name)}-collapse"
    return ReportTable(name, caption, columns, tuple(map(_row, collapses)))


def collapse_words(collapses: Sequence[Collapse]) -> Iterator[str]:
    """A sentence for each arm of one model and task that collapses, or one that none does.

    Of several metrics of an arm the sentence names the one that collapses first.
    """
    first = collapses[0]
    where = f"{first.model}, {first.task.name}"
    fallen = [each for each in collapses if each.begins is not None]
    if not fallen:
        yield f"{where}: no method collapses within its strengths."
    for arm in dict.fromkeys(each.arm for each in fallen):
        earliest = min((each for each in fallen if each.arm == arm), key=_begin)
        yield f"{where}: {_sentence(earliest)}"


def _begin(each: Collapse) -> float:
    return math.inf if each.begins is None else each.begins.strength


def _sentence(each: Collapse) -> str:
    assert each.begins is not None
    there, unsteered = _score(each.begins), _score(each.unsteered)
    text = (
        f"{each.arm.label} collapses from strength {each.begins.strength:g} on: {each.metric.name} "
        f"is {there} there against {unsteered} unsteered"
    )
    if each.effect is not None:
        text += f" ({wording.difference(each.effect, each.metric)})"
    if each.target is not None:
        text += f", while {each.target.metric.name} is {_score(each.target)}"
    return f"{text}."


def _score(point: StrengthPoint) -> str:
    """The mean alone."""
    return score_words(point.score, point.metric).split(" ±")[0]


def _row(each: Collapse) -> tuple[Entry, ...]:
    name = Entry(each.arm.method, note=each.arm.layer_words)
    strengths = Entry(", ".join(f"{strength:g}" for strength in each.strengths))
    metric, unsteered = Entry(each.metric.name), Entry(_score(each.unsteered))
    if each.begins is None:
        return name, metric, unsteered, Entry("not"), _ABSENT, _ABSENT, _ABSENT, strengths
    effect = each.effect
    return (
        name,
        metric,
        unsteered,
        Entry(f"{each.begins.strength:g}", each.begins.strength, tone="bad"),
        Entry(_score(each.begins)),
        _ABSENT
        if effect is None
        else Entry(wording.difference(effect, each.metric), effect.estimate),
        _ABSENT
        if each.target is None
        else Entry(_score(each.target), note=each.target.metric.name),
        strengths,
    )
