"""Strength curves with what they cost: the target above the metrics that show collapse.

One figure a model and task: a column a method, a row a metric, strengths one below the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steereval.common.text import slug
from steereval.results.analysis.collapse import Collapse, side_by_side
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
from steereval.results.report.plots.error_bars import Limits
from steereval.results.report.plots.palette import INK, MUTED, TONE_COLOURS
from steereval.results.report.plots.strength_response_plot import (
    COLUMNS,
    TITLE_WIDTH,
    curve_words,
    draw_baseline,
    draw_curve,
    score_limits,
    set_strengths,
    shown,
)
from steereval.results.store.manifest import RATIO

CAPTION = (
    "The target metric at every strength, and below it the metrics that show when a model falls "
    "apart: informativeness, perplexity, distinct-n. The dashed line is the baseline. The shaded "
    "strengths are those from which on a metric has lost more than half of its unsteered value, or "
    "a perplexity has more than doubled."
)

PANEL = 1.12
"""Inches of height."""

STEEP = 20.0
"""Perplexities that differ by more than this factor have a logarithmic axis."""

Curves = Mapping[str, Sequence[StrengthPoint]]
"""{metric: points} of one arm."""


def collapse_plot(
    points: Sequence[StrengthPoint], collapses: Sequence[Collapse], baseline: str
) -> Picture | Absence:
    """The figure of one model and task; `collapses` are those of the same."""
    first = points[0]
    title = f"{first.model}: {first.task.name}"
    metrics = side_by_side(first.task, list({p.metric.name: p.metric for p in points}.values()))
    if len(metrics) < 2:
        return Absence(title, "the task has no metric that shows collapse")
    drawn = [p for p in points if p.score is not None and math.isfinite(p.score.mean)]
    arms = {
        arm: {m: [p for p in drawn if p.arm == arm and p.metric.name == m] for m in metrics}
        for arm in dict.fromkeys(p.arm for p in drawn if p.arm.method != baseline)
    }
    if not any(len(curves[metrics[0]]) > 1 for curves in arms.values()):
        return Absence(title, "no method has scores at two strengths")
    plain = {
        m: [p for p in drawn if p.arm.method == baseline and p.metric.name == m] for m in metrics
    }
    blocks = math.ceil(len(arms) / COLUMNS)
    with house_style(WIDTH, 0.5 + blocks * (0.25 + PANEL * len(metrics))) as figure:
        _draw(figure, arms, plain, collapses, blocks)
        figure.align_ylabels()
        figure.supxlabel("strength", fontsize=9, color=MUTED)
        words = [
            f"{metric}: " + "; ".join(curve_words(arm, arms[arm][metric]) for arm in arms)
            for metric in metrics
        ]
        name = slug("collapse", first.model, first.task.name)
        return finish(figure, name, title, ". ".join(words))


def _draw(
    figure: Figure,
    arms: Mapping[Arm, Curves],
    plain: Curves,
    collapses: Sequence[Collapse],
    blocks: int,
) -> None:
    metrics, columns = list(plain), min(COLUMNS, len(arms))
    firsts: dict[str, Axes] = {}
    scales = {m: _limits([p for c in arms.values() for p in c[m]] + [*plain[m]]) for m in metrics}
    for place, (arm, curves) in enumerate(arms.items()):
        block, column = divmod(place, columns)
        above: Axes | None = None
        for row, metric in enumerate(metrics):
            number = (block * len(metrics) + row) * columns + column + 1
            axes = figure.add_subplot(
                blocks * len(metrics), columns, number, sharex=above, sharey=firsts.get(metric)
            )
            above = above or axes
            firsts.setdefault(metric, axes)
            limits, is_last = scales[metric], row == len(metrics) - 1
            _panel(axes, curves[metric], plain[metric], limits, column == 0, is_last)
            _shade(axes, [c for c in collapses if (c.arm, c.metric.name) == (arm, metric)])
            if row == 0:
                label = short_label(arm, arms.keys(), TITLE_WIDTH)
                axes.set_title(label, fontsize=8.5, color=INK, loc="left")
    for metric, axes in firsts.items():
        _scale(axes, scales[metric], plain[metric] or next(iter(arms.values()))[metric])


def _panel(
    axes: Axes,
    points: Sequence[StrengthPoint],
    plain: Sequence[StrengthPoint],
    limits: Limits,
    is_first: bool,
    is_last: bool,
) -> None:
    axes.tick_params(
        axis="both", labelcolor=MUTED, labelsize=8, labelleft=is_first, labelbottom=is_last
    )
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    draw_baseline(axes, plain)
    if points:
        draw_curve(axes, points, limits)
        set_strengths(axes, points)
        axes.tick_params(axis="x", labelbottom=is_last)
    if is_first and (known := [*points, *plain]):
        axes.set_ylabel(_label(known[0]), fontsize=8.5)


def _label(point: StrengthPoint) -> str:
    arrow = "↑" if point.metric.higher_is_better else "↓"
    return f"{point.metric.name} {arrow}"


def _shade(axes: Axes, collapses: Sequence[Collapse]) -> None:
    """From the strength on at which the metric has collapsed."""
    for collapse in collapses:
        if collapse.begins is not None:
            start, limits = collapse.begins.strength, axes.get_xlim()
            axes.axvspan(start, limits[1], color=TONE_COLOURS["bad"], alpha=0.16, linewidth=0)
            axes.axvline(start, color=TONE_COLOURS["bad"], linewidth=1.1, linestyle=(0, (2, 2)))
            axes.set_xlim(*limits)


def _limits(points: Sequence[StrengthPoint]) -> Limits:
    """Of the y axis of a metric, which its panels share."""
    if not _is_steep(points):
        return score_limits(points)
    ends = [shown(p, part) for p in points for part in ("low", "mean", "high")]
    inside = [end for end in ends if math.isfinite(end) and end > 0]
    return min(inside) / 1.3, max(inside) * 1.3


def _is_steep(points: Sequence[StrengthPoint]) -> bool:
    """Whether perplexities differ so much that their axis is logarithmic."""
    means = [shown(point, "mean") for point in points]
    return points[0].metric.kind == RATIO and 0 < STEEP * min(means) < max(means)


def _scale(axes: Axes, limits: Limits, points: Sequence[StrengthPoint]) -> None:
    axes.set_ylim(*limits)
    if points and points[0].metric.kind == RATIO and limits[1] > STEEP * limits[0] > 0:
        axes.set_yscale("log")
        axes.set_ylim(*limits)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        axes.minorticks_off()
