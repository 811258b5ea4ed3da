"""Effect against capability: what a method gains on the target, and what it costs elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.verdicts import margin_of, oriented
from steereval.results.report.plots.difference_axis import Limits, set_factors
from steereval.results.report.plots.drawing import (
    WIDTH,
    Absence,
    Picture,
    finish,
    house_style,
    short_label,
)
from steereval.results.report.plots.error_bars import draw_bar, natural_limits, room_for
from steereval.results.report.plots.label_placement import WIDEST, height_for, place_labels
from steereval.results.report.plots.palette import BAND, CURVE, MUTED
from steereval.results.stats import Effect
from steereval.results.store.manifest import RATIO

CAPTION = (
    "Right of the upright line a method improves the target task, above the level line it improves "
    "the capability; the bars are intervals. The band is the loss of capability that was declared "
    "tolerable beforehand."
)


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
    arms = [point.target.arm for point in points]
    names = [short_label(arm, arms, WIDEST) for arm in arms]
    with house_style(WIDTH, height_for(3.3, len(points))) as figure:
        axes = figure.add_subplot()
        _frame(axes, points)
        for point in points:
            _cross(axes, point)
        figure.draw_without_rendering()  # lays out the axes, which places of labels depend on
        place_labels(axes, [point.centre for point in points], names)
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
    across = _limits([_gain(point.target) for point in points], first.target)
    along = _limits([_gain(point.capability) for point in points], first.capability, -scaled)
    for row, axis, limits, set_limits, set_label in (
        (first.target, axes.xaxis, across, axes.set_xlim, axes.set_xlabel),
        (first.capability, axes.yaxis, along, axes.set_ylim, axes.set_ylabel),
    ):
        set_limits(*limits)
        set_label(_axis_label(row))
        if row.metric.kind == RATIO:
            set_factors(axis, limits)


def _limits(gains: Sequence[Effect], row: Row, margin: float = 0.0) -> Limits:
    """Room for no effect, the margin, the gains and their intervals."""
    ends = [x for gain in gains for x in (gain.low, gain.high)]
    means = [0.0, margin, *(gain.estimate for gain in gains)]
    return room_for(means, ends, natural_limits(row.metric, is_difference=True))


def _cross(axes: Axes, point: _Point) -> None:
    x, y = point.centre
    style: dict[str, Any] = {"color": CURVE, "linewidth": 1.2, "alpha": 0.35}
    across, along = _gain(point.target), _gain(point.capability)
    draw_bar(axes, (across.low, across.high), y, axes.get_xlim(), is_level=True, **style)
    draw_bar(axes, (along.low, along.high), x, axes.get_ylim(), is_level=False, **style)
    axes.plot([x], [y], "o", color=CURVE, markersize=6)


def _gain(row: Row) -> Effect:
    """The effect turned so that more is better, in the unit of display."""
    assert row.comparison is not None
    effect, scale = oriented(row.comparison.effect, row.metric), wording.scale_of(row.metric)
    return Effect(
        **{
            **vars(effect),
            **{n: scale * getattr(effect, n) for n in ("estimate", "low", "high", "se")},
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
