"""Effect against capability: what a method gains on the target, and what it costs elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steereval.results import wording
from steereval.results.leaderboard import Row
from steereval.results.manifest import RATIO
from steereval.results.report.difference_axis import limits_of, set_factors
from steereval.results.report.drawing import (
    WIDTH,
    Absence,
    Picture,
    finish,
    house_style,
    short_label,
    slug,
)
from steereval.results.report.label_places import place_labels
from steereval.results.report.palette import BAND, CURVE, INK, MUTED
from steereval.results.stats import Effect
from steereval.results.verdicts import margin_of, oriented

CAPTION = (
    "Right of the upright line a method improves the target task, above the level line it improves "
    "the capability; the bars are intervals. The band is the loss of capability that was declared "
    "tolerable beforehand."
)

KEY_COLUMNS = 2
KEY_WIDTH = 26
"""Characters of a name in the key."""


@dataclass(frozen=True)
class _Point:
    """One method on both tasks, gains in the units of display."""

    target: Row
    capability: Row

    @property
    def centre(self) -> tuple[float, float]:
        return _gain(self.target).estimate, _gain(self.capability).estimate


def capability_plots(rows: Sequence[Row]) -> Iterator[Picture | Absence]:
    """A figure for every pair of a target and a capability task, of the primary rows of a model."""
    compared = [row for row in rows if row.comparison is not None and row.is_primary]
    targets = list(dict.fromkeys(row.task.name for row in rows if row.task.is_target))
    others = list(dict.fromkeys(row.task.name for row in rows if not row.task.is_target))
    if not others:
        yield Absence(rows[0].model, "the grid has no task with `role: capability`")
        return
    for target in targets:
        for other in others:
            ours = {row.name: row for row in compared if row.task.name == target}
            theirs = {row.name: row for row in compared if row.task.name == other}
            points = [_Point(row, theirs[name]) for name, row in ours.items() if name in theirs]
            yield _plot(rows[0].model, target, other, points)


def _plot(model: str, target: str, other: str, points: Sequence[_Point]) -> Picture | Absence:
    title = f"{model}: {target} against {other}"
    if not points:
        return Absence(title, "no method has a comparison on both tasks")
    key_lines = math.ceil(len(points) / KEY_COLUMNS)
    with house_style(WIDTH, 3.3 + 0.19 * key_lines) as figure:
        axes = figure.add_subplot()
        _frame(axes, points)
        for point in points:
            _cross(axes, point)
        _key(figure, points)
        figure.draw_without_rendering()  # lays out the axes, which places of labels depend on
        place_labels(axes, [p.centre for p in points], [str(i + 1) for i in range(len(points))])
        name = slug("capability", model, target, other)
        return finish(figure, name, title, "; ".join(map(_words, points)))


def _frame(axes: Axes, points: Sequence[_Point]) -> None:
    """Axes, the lines of no effect and the margin's band."""
    first = points[0]
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.tick_params(labelcolor=MUTED)
    margin = margin_of(first.capability.task, first.capability.metric)
    scaled = 0.0 if margin is None else wording.scale_of(first.capability.metric) * margin
    if margin is not None:
        axes.axhspan(-scaled, 0.0, color=BAND, linewidth=0)
    axes.axvline(0.0, color=MUTED, linewidth=1.0)
    axes.axhline(0.0, color=MUTED, linewidth=1.0)
    across = limits_of(_gain(point.target).estimate for point in points)
    along = limits_of([-scaled, *(_gain(point.capability).estimate for point in points)])
    for row, axis, limits, set_limits, set_label in (
        (first.target, axes.xaxis, _wider(across, points, True), axes.set_xlim, axes.set_xlabel),
        (
            *(first.capability, axes.yaxis, _wider(along, points, False)),
            *(axes.set_ylim, axes.set_ylabel),
        ),
    ):
        set_limits(*limits)
        set_label(_axis_label(row))
        if row.metric.kind == RATIO:
            set_factors(axis, limits)


def _wider(
    limits: tuple[float, float], points: Sequence[_Point], target: bool
) -> tuple[float, float]:
    """Room for the narrower half of the intervals; wide ones of few seeds leave the axes."""
    halves = sorted(
        (effect.high - effect.low) / 2
        for point in points
        if math.isfinite((effect := _gain(point.target if target else point.capability)).se)
    )
    room = halves[len(halves) // 2] if halves else 0.0
    return limits[0] - room, limits[1] + room


def _cross(axes: Axes, point: _Point) -> None:
    x, y = point.centre
    for effect, horizontal in ((_gain(point.target), True), (_gain(point.capability), False)):
        if math.isfinite(effect.low) and math.isfinite(effect.high):
            ends = [effect.low, effect.high]
            line = (ends, [y, y]) if horizontal else ([x, x], ends)
            axes.plot(*line, color=CURVE, linewidth=1.2, alpha=0.35)
    axes.plot([x], [y], "o", color=CURVE, markersize=6)


def _key(figure: Figure, points: Sequence[_Point]) -> None:
    """The numbers' names below the axes, in columns."""
    arms = [point.target.arm for point in points]
    names = [
        f"{number + 1}  {short_label(point.target.arm, arms, KEY_WIDTH)}"
        for number, point in enumerate(points)
    ]
    lines = math.ceil(len(names) / KEY_COLUMNS)
    columns = ["\n".join(names[i : i + lines]) for i in range(0, len(names), lines)]
    grid = figure.add_gridspec(2, len(columns), height_ratios=[3.3, 0.05 + 0.19 * lines])
    figure.axes[0].set_subplotspec(grid[0, :])
    for place, text in enumerate(columns):
        cell = figure.add_subplot(grid[1, place])
        cell.axis("off")
        cell.text(
            0, 1, text, ha="left", va="top", fontsize=8.5, color=INK, linespacing=1.35,
            transform=cell.transAxes,
        )  # fmt: skip


def _gain(row: Row) -> Effect:
    """The effect turned so that more is better, in the unit of display."""
    assert row.comparison is not None
    found, scale = oriented(row.comparison.effect, row.metric), wording.scale_of(row.metric)
    return Effect(
        **{
            **vars(found),
            **{n: scale * getattr(found, n) for n in ("estimate", "low", "high", "se")},
        }
    )


def _axis_label(row: Row) -> str:
    name = f"{row.task.name} · {row.metric.name}"
    short = name if len(name) <= 34 else f"{name[:33]}…"
    if row.metric.kind == RATIO:
        return f"{short}\nperplexity divided by → better"
    unit = ", points" if row.metric.in_points else ""
    return f"{short}\ngain{unit} → better"


def _words(point: _Point) -> str:
    x, y = (
        wording.difference(row.comparison.effect, row.metric)
        for row in (point.target, point.capability)
        if row.comparison is not None
    )
    return f"{point.target.name}: {x} on the target, {y} on the capability"
