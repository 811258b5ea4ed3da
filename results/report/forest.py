"""Forest plots: the differences to the baseline with their intervals, and the margin's band."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steereval.results import wording
from steereval.results.leaderboard import Row
from steereval.results.manifest import RATIO
from steereval.results.report.drawing import (
    BAND,
    MUTED,
    TONE_COLOURS,
    WIDTH,
    Picture,
    finish,
    house_style,
    short_label,
    slug,
)
from steereval.results.report.opening import tone_of
from steereval.results.verdicts import margin_of

CAPTION = (
    "Difference to the baseline with its interval, by verdict: blue better, green equivalent or "
    "non-inferior, grey inconclusive, orange worse. The band is the margin, where one was declared."
)

LABEL_WIDTH = 24
"""Characters beside the axis."""


def forest(rows: Sequence[Row]) -> Picture | None:
    """The forest plot of one model, task and metric; None if nothing was compared."""
    compared = [row for row in rows if row.comparison is not None]
    if not compared:
        return None
    first = compared[0]
    with house_style(WIDTH, 0.95 + 0.3 * len(compared)) as figure:
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.set_facecolor("none")
        places = range(len(compared) - 1, -1, -1)
        limits = _limits(compared)
        _margin_band(axes, first)
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
        for place, row in zip(places, compared, strict=True):
            _interval(axes, row, place, limits)
        axes.set_yticks(list(places), [_label(row, compared) for row in compared])
        axes.set_ylim(-0.6, len(compared) - 0.4)
        axes.set_xlim(*limits)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(_axis_label(first))
        if first.metric.kind == RATIO:
            _factor_ticks(axes, limits)
        name = slug("forest", first.model, first.task.name, first.metric.name)
        title = f"{first.model}: {first.task.name} · {first.metric.name}"
        return finish(figure, name, title, CAPTION)


def _label(row: Row, rows: Sequence[Row]) -> str:
    short = short_label(row.arm, [other.arm for other in rows], LABEL_WIDTH)
    return row.name.replace(row.arm.label, short, 1)


def _interval(axes: Axes, row: Row, place: int, limits: tuple[float, float]) -> None:
    if row.comparison is None:
        return
    effect, scale = row.comparison.effect, wording.scale_of(row.metric)
    colour = TONE_COLOURS[tone_of(row)]
    low, high = (min(max(scale * x, limits[0]), limits[1]) for x in (effect.low, effect.high))
    axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot([scale * effect.estimate], [place], "o", color=colour, markersize=6.5)


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Room for zero, the margin and every finite end."""
    ends = [0.0]
    for row in rows:
        margin, scale = margin_of(row.task, row.metric) or 0.0, wording.scale_of(row.metric)
        ends += [scale * margin, -scale * margin]
        if row.comparison is not None:
            effect = row.comparison.effect
            ends += [scale * x for x in (effect.low, effect.estimate, effect.high)]
    finite = [x for x in ends if math.isfinite(x)]
    low, high = min(finite), max(finite)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _margin_band(axes: Axes, row: Row) -> None:
    margin = margin_of(row.task, row.metric)
    if margin is not None:
        scaled = wording.scale_of(row.metric) * margin
        axes.axvspan(-scaled, scaled, color=BAND, linewidth=0)
        for end in (-scaled, scaled):
            axes.axvline(end, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))


def _factor_ticks(axes: Axes, limits: tuple[float, float]) -> None:
    """Round factors on the logarithmic axis, unless they span orders of magnitude."""
    if limits[1] - limits[0] < math.log(10):
        factors = MaxNLocator(6).tick_values(*(math.exp(x) for x in limits))
        inside = [f for f in factors if f > 0 and limits[0] <= math.log(f) <= limits[1]]
        axes.set_xticks([math.log(f) for f in inside], [f"{f:g}" for f in inside])
    else:
        axes.xaxis.set_major_formatter(lambda x, _: f"{math.exp(min(x, 700)):.2g}")


def _axis_label(row: Row) -> str:
    better = "→ better" if row.metric.higher_is_better else "← better"
    if row.metric.kind == RATIO:
        return f"factor of the baseline's perplexity   {better}"
    unit = "points" if row.metric.in_points else row.metric.name
    return f"difference to the baseline, {unit}   {better}"
