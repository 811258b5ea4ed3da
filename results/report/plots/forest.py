"""Forest plots: the differences to the baseline with their intervals, and the margin's band."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.conclusion import verdict_words
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.verdicts import margin_of
from steereval.results.report.plots.difference_axis import (
    Limits,
    arm_label,
    set_differences,
    set_places,
)
from steereval.results.report.plots.drawing import WIDTH, Absence, Picture, finish, house_style
from steereval.results.report.plots.error_bars import draw_bar, natural_limits, room_for
from steereval.results.report.plots.palette import BAND, MUTED, PAPER, TONE_COLOURS
from steereval.results.report.summary import tone_of

CAPTION = (
    "Difference to the baseline with the interval of a single comparison, not adjusted; shapes and "
    "colours are those of the verdicts above. The band is the margin, where one was declared."
)


MARKERS = {"good": "^", "bad": "v", "even": "s", "open": "o", "harm": "D", "none": "o"}
"""A shape for each tone; hollow where the verdict is open."""


def forest(rows: Sequence[Row]) -> Picture | Absence:
    """The forest plot of one model, task and metric."""
    first, compared = rows[0], [row for row in rows if row.comparison is not None]
    title = f"{first.model}: {first.task.name} · {first.metric.name}"
    if not compared:
        return Absence(title, "nothing could be compared")
    with house_style(WIDTH, 0.95 + 0.3 * len(compared)) as figure:
        axes = figure.add_subplot()
        labels = [arm_label(row, compared) for row in compared]
        places, limits = set_places(axes, labels), _limits(compared)
        _margin_band(axes, first)
        for place, row in zip(places, compared, strict=True):
            _interval(axes, row, place, limits)
        set_differences(axes, first.metric, limits, "difference to the baseline")
        name = slug("forest", first.model, first.task.name, first.metric.name)
        return finish(figure, name, title, "; ".join(map(_words, compared)))


def _interval(axes: Axes, row: Row, place: int, limits: Limits) -> None:
    if row.comparison is None:
        return
    effect, scale, tone = row.comparison.effect, wording.scale_of(row.metric), tone_of(row)
    colour = TONE_COLOURS[tone]
    ends = scale * effect.low, scale * effect.high
    draw_bar(axes, ends, place, limits, is_level=True, color=colour, linewidth=2.0)
    axes.plot(
        [scale * effect.estimate], [place], MARKERS[tone], color=colour, markersize=7,
        markerfacecolor=PAPER if tone in ("open", "none") else colour, markeredgewidth=1.6,
    )  # fmt: skip


def _limits(rows: Sequence[Row]) -> Limits:
    """Room for zero, the margins, the estimates and their intervals."""
    scale, metric = wording.scale_of(rows[0].metric), rows[0].metric
    margin = margin_of(rows[0].task, metric) or 0.0
    effects = [row.comparison.effect for row in rows if row.comparison is not None]
    means = [0.0, scale * margin, -scale * margin, *(scale * each.estimate for each in effects)]
    ends = [scale * x for each in effects for x in (each.low, each.high)]
    return room_for(means, ends, natural_limits(metric, is_difference=True))


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
    difference = wording.difference(row.comparison.effect, row.metric)
    return f"{row.name} {difference}, {verdict_words(row)}"
