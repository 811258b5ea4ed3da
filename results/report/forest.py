"""Forest plots: the differences to the baseline with their intervals, and the margin's band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from steereval.results import wording
from steereval.results.leaderboard import Row
from steereval.results.report.difference_axis import (
    Limits,
    arm_label,
    limits_of,
    set_differences,
    set_places,
)
from steereval.results.report.drawing import WIDTH, Absence, Picture, finish, house_style, slug
from steereval.results.report.opening import tone_of
from steereval.results.report.palette import BAND, MUTED, TONE_COLOURS
from steereval.results.verdicts import margin_of

CAPTION = (
    "Difference to the baseline with its interval, by verdict: blue better, green equivalent or "
    "non-inferior, grey inconclusive, orange worse. The band is the margin, where one was declared."
)


def forest(rows: Sequence[Row]) -> Picture | Absence:
    """The forest plot of one model, task and metric."""
    first, compared = rows[0], [row for row in rows if row.comparison is not None]
    title = f"{first.model}: {first.task.name} · {first.metric.name}"
    if not compared:
        return Absence(title, "nothing could be compared")
    with house_style(WIDTH, 0.95 + 0.3 * len(compared)) as figure:
        axes = figure.add_subplot()
        labels = [arm_label(row, compared) for row in compared]
        places, limits = set_places(axes, labels), limits_of(_ends(compared))
        _margin_band(axes, first)
        for place, row in zip(places, compared, strict=True):
            _interval(axes, row, place, limits)
        set_differences(axes, first.metric, limits, "difference to the baseline")
        name = slug("forest", first.model, first.task.name, first.metric.name)
        return finish(figure, name, title, "; ".join(map(_words, compared)))


def _interval(axes: Axes, row: Row, place: int, limits: Limits) -> None:
    if row.comparison is None:
        return
    effect, scale = row.comparison.effect, wording.scale_of(row.metric)
    colour = TONE_COLOURS[tone_of(row)]
    low, high = (min(max(scale * x, limits[0]), limits[1]) for x in (effect.low, effect.high))
    axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot([scale * effect.estimate], [place], "o", color=colour, markersize=6.5)


def _ends(rows: Sequence[Row]) -> Iterator[float]:
    """Of the margins and intervals."""
    for row in rows:
        margin, scale = margin_of(row.task, row.metric) or 0.0, wording.scale_of(row.metric)
        yield from (scale * margin, -scale * margin)
        if row.comparison is not None:
            effect = row.comparison.effect
            yield from (scale * x for x in (effect.low, effect.estimate, effect.high))


def _margin_band(axes: Axes, row: Row) -> None:
    margin = margin_of(row.task, row.metric)
    if margin is not None:
        scaled = wording.scale_of(row.metric) * margin
        axes.axvspan(-scaled, scaled, color=BAND, linewidth=0)
        for end in (-scaled, scaled):
            axes.axvline(end, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))


def _words(row: Row) -> str:
    if row.comparison is None:
        return row.name
    verdict = f", {row.verdict.word}" if row.verdict else ""
    return f"{row.name} {wording.difference(row.comparison.effect, row.metric)}{verdict}"
