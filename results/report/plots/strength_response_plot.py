"""Strength response: the score at every strength, one panel an arm, with what was chosen ringed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.scores import Arm
from steereval.results.analysis.strength_response import StrengthPoint
from steereval.results.report.plots.drawing import (
    WIDTH,
    Absence,
    Picture,
    finish,
    house_style,
    short_label,
)
from steereval.results.report.plots.error_bars import Limits, draw_bar, natural_limits, room_for
from steereval.results.report.plots.palette import CURVE, INK, MUTED
from steereval.results.report.tables.leaderboard import score_words
from steereval.results.store.manifest import RATIO

CAPTION = (
    "Score on test items at every strength, with its interval; exploratory. Rings mark strengths "
    "chosen on validation items in at least one fit seed. The dashed line is the baseline, the "
    "band its interval."
)

COLUMNS = 3
"""Panels side by side."""

MANY_TICKS = 5
"""With more strengths than this the axis has ticks of its own instead of one each."""

TITLE_WIDTH = 18
"""Characters above a panel."""


def response(points: Sequence[StrengthPoint], baseline: str) -> Picture | Absence:
    """The strength response of one model, task and metric."""
    first = points[0]
    title = f"{first.model}: {first.task.name} · {first.metric.name}"
    drawn = [p for p in points if p.score is not None and math.isfinite(p.score.mean)]
    arms: dict[Arm, list[StrengthPoint]] = {}
    for point in drawn:
        if point.arm.method != baseline:
            arms.setdefault(point.arm, []).append(point)
    if not any(len(curve) > 1 for curve in arms.values()):
        return Absence(title, "no method has scores at two strengths")
    rows = math.ceil(len(arms) / COLUMNS)
    with house_style(WIDTH, 0.75 + 1.45 * rows) as figure:
        panels, limits = _panels(figure, len(arms), rows), score_limits(drawn)
        for axes, (arm, curve) in zip(panels, arms.items(), strict=True):
            draw_baseline(axes, [p for p in drawn if p.arm.method == baseline])
            draw_curve(axes, curve, limits)
            set_strengths(axes, curve)
            label = short_label(arm, arms.keys(), TITLE_WIDTH)
            axes.set_title(label, fontsize=8.5, color=INK, loc="left")
        panels[0].set_ylim(*limits)
        figure.supxlabel("strength", fontsize=9, color=MUTED)
        figure.supylabel(_score_label(first), fontsize=9, color=MUTED)
        name = slug("strength", first.model, first.task.name, first.metric.name)
        text = "; ".join(curve_words(arm, curve) for arm, curve in arms.items())
        return finish(figure, name, title, text)


def _panels(figure: Figure, number: int, rows: int) -> list[Axes]:
    columns = min(COLUMNS, number)
    first = figure.add_subplot(rows, columns, 1)
    others = [
        figure.add_subplot(rows, columns, place, sharey=first) for place in range(2, number + 1)
    ]
    panels = [first, *others]
    for place, axes in enumerate(panels):
        axes.tick_params(axis="both", labelcolor=MUTED, labelsize=8, labelleft=place % columns == 0)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_facecolor("none")
    return panels


def draw_curve(axes: Axes, points: Sequence[StrengthPoint], limits: Limits) -> None:
    """The scores of one arm over its strengths, chosen ones ringed; bars end within `limits`, or in
    an arrowhead."""
    strengths, means = [p.strength for p in points], [shown(p, "mean") for p in points]
    axes.plot(strengths, means, "o-", markersize=4.5, color=CURVE, linewidth=1.6)
    for point in points:
        ends = shown(point, "low"), shown(point, "high")
        if not any(map(math.isnan, ends)):
            style: dict[str, Any] = {"color": CURVE, "linewidth": 1.3, "alpha": 0.7}
            draw_bar(axes, ends, point.strength, limits, is_level=False, **style)
    chosen = [(p.strength, shown(p, "mean")) for p in points if p.n_chosen]
    for x, y in chosen:
        axes.plot(
            [x], [y], "o", markersize=10, markerfacecolor="none", markeredgecolor=INK, zorder=5
        )


def draw_baseline(axes: Axes, points: Sequence[StrengthPoint]) -> None:
    """The first of `points` as a level line with the band of its interval."""
    for point in points[:1]:
        axes.axhline(shown(point, "mean"), color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
        low, high = shown(point, "low"), shown(point, "high")
        if math.isfinite(low) and math.isfinite(high):
            axes.axhspan(low, high, color=MUTED, alpha=0.13, linewidth=0)


def set_strengths(axes: Axes, points: Sequence[StrengthPoint]) -> None:
    """The x axis, with a tick for each strength while they are few."""
    strengths = [p.strength for p in points]
    if min(strengths) > 0 and max(strengths) / min(strengths) > 8:
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(strengths) <= MANY_TICKS:
        axes.set_xticks(strengths, [f"{x:g}" for x in strengths])
    axes.margins(x=0.12)


def score_limits(points: Sequence[StrengthPoint]) -> Limits:
    """Room for the scores and their intervals."""
    means = [shown(point, "mean") for point in points]
    ends = [x for p in points for x in (shown(p, "low"), shown(p, "high"))]
    return room_for(means, ends, natural_limits(points[0].metric, is_difference=False))


def _score_label(point: StrengthPoint) -> str:
    better = "higher" if point.metric.higher_is_better else "lower"
    unit = ", points" if point.metric.in_points else ""
    unit = ", perplexity" if point.metric.kind == RATIO else unit
    return f"{point.metric.name}{unit} ({better} is better)"


def shown(point: StrengthPoint, part: str) -> float:
    """A part of the score in the unit of display; NaN where it is not known."""
    value = None if point.score is None else getattr(point.score, part)
    return math.nan if value is None else wording.scale_of(point.metric) * float(value)


def curve_words(arm: Arm, points: Sequence[StrengthPoint]) -> str:
    """The scores of one arm at all its strengths."""
    scores = ", ".join(f"{score_words(p.score, p.metric)} at {p.strength:g}" for p in points)
    return f"{arm.label}: {scores}"
