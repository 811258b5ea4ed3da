"""Strength response: the score at every strength, with what was chosen marked by a ring."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from steereval.results import wording
from steereval.results.manifest import RATIO
from steereval.results.report.drawing import (
    ARM_COLOURS,
    ARM_MARKERS,
    INK,
    MUTED,
    PAPER,
    Picture,
    drawing,
    finish,
    slug,
)
from steereval.results.response import StrengthPoint
from steereval.results.scores import Arm

CAPTION = (
    "Score on test items at every strength, with its interval; exploratory. Rings mark strengths "
    "chosen on validation items in at least one fit seed. The grey line is the baseline."
)


def response(points: Sequence[StrengthPoint], baseline: str) -> Picture | None:
    """The strength response of one model, task and metric; None if no arm has two strengths."""
    drawn = [p for p in points if p.score is not None and math.isfinite(p.score.mean)]
    arms: dict[Arm, list[StrengthPoint]] = {}
    for point in drawn:
        if point.arm.method != baseline:
            arms.setdefault(point.arm, []).append(point)
    if not any(len(found) > 1 for found in arms.values()):
        return None
    first = drawn[0]
    with drawing(5.4, 3.1 + 0.16 * ((len(arms) + 1) // 2)) as (figure, axes):
        _baseline(axes, [p for p in drawn if p.arm.method == baseline])
        for i, (arm, found) in enumerate(arms.items()):
            _curve(axes, arm, found, i)
        _dress(axes, first, drawn)
        figure.legend(loc="outside lower center", ncols=2, fontsize=8.5, handlelength=1.6)
        name = slug("strength", first.model, first.task.name, first.metric.name)
        title = f"{first.model}: {first.task.name} · {first.metric.name}"
        return finish(figure, name, title, CAPTION)


def _curve(axes: Axes, arm: Arm, points: Sequence[StrengthPoint], number: int) -> None:
    colour = ARM_COLOURS[number % len(ARM_COLOURS)]
    marker = ARM_MARKERS[number % len(ARM_MARKERS)]
    strengths = [p.strength for p in points]
    means = [_shown(p, "mean") for p in points]
    axes.plot(
        *(strengths, means),
        marker=marker,
        markersize=5,
        color=colour,
        label=arm.label,
        linewidth=1.6,
    )
    for point in points:
        low, high = _shown(point, "low"), _shown(point, "high")
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([point.strength] * 2, [low, high], color=colour, linewidth=1.2, alpha=0.75)
    chosen = [(p.strength, _shown(p, "mean")) for p in points if p.n_chosen]
    if chosen:
        xs, ys = zip(*chosen, strict=True)
        axes.plot(
            *(xs, ys), "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, zorder=5
        )


def _baseline(axes: Axes, points: Sequence[StrengthPoint]) -> None:
    for point in points[:1]:
        axes.axhline(_shown(point, "mean"), color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        low, high = _shown(point, "low"), _shown(point, "high")
        if math.isfinite(low) and math.isfinite(high):
            axes.axhspan(low, high, color=MUTED, alpha=0.12, linewidth=0)


def _dress(axes: Axes, first: StrengthPoint, points: Sequence[StrengthPoint]) -> None:
    strengths = [p.strength for p in points if p.strength > 0]
    if strengths and max(strengths) / min(strengths) > 20 and all(p.strength >= 0 for p in points):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    better = "higher" if first.metric.higher_is_better else "lower"
    unit = ", points" if first.metric.in_points else ""
    unit = ", perplexity" if first.metric.kind == RATIO else unit
    axes.set_xlabel("strength")
    axes.set_ylabel(f"{first.metric.name}{unit} ({better} is better)")
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.grid(axis="y")
    axes.set_facecolor(PAPER)


def _shown(point: StrengthPoint, part: str) -> float:
    value = None if point.score is None else getattr(point.score, part)
    return math.nan if value is None else wording.scale_of(point.metric) * float(value)
