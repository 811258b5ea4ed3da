"""The axis of differences to the baseline, which several figures share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator

from steereval.results.analysis.leaderboard import Row
from steereval.results.report.plots.drawing import short_label
from steereval.results.report.plots.palette import MUTED
from steereval.results.store.manifest import RATIO, Metric

LABEL_WIDTH = 24
"""Characters of a label of the axis."""

Limits = tuple[float, float]


def set_places(axes: Axes, labels: Sequence[str]) -> list[int]:
    """A line for each label, the first at the top; their places."""
    places = list(range(len(labels) - 1, -1, -1))
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.set_yticks(places, labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.axvline(0.0, color=MUTED, linewidth=1.0)
    return places


def set_differences(axes: Axes, metric: Metric, limits: Limits, what: str) -> None:
    """The x axis as one of differences: `what` they are, and the direction of improvement."""
    axes.set_xlim(*limits)
    better = "→ better" if metric.higher_is_better else "← better"
    axes.set_xlabel(f"{what}, {unit_of_differences(metric)}   {better}")
    if metric.kind == RATIO:
        set_factors(axes.xaxis, limits)


def unit_of_differences(metric: Metric) -> str:
    """The unit in words."""
    if metric.kind == RATIO:
        return "factor of its perplexity"
    return "points" if metric.in_points else metric.name


def set_factors(axis: Axis, limits: Limits) -> None:
    """Round factors on a logarithmic axis, unless they span orders of magnitude."""
    if limits[1] - limits[0] < math.log(10):
        factors = MaxNLocator(6).tick_values(*(math.exp(x) for x in limits))
        inside = [f for f in factors if f > 0 and limits[0] <= math.log(f) <= limits[1]]
        axis.set_ticks([math.log(f) for f in inside], labels=[f"{f:g}" for f in inside])
    else:
        axis.set_major_formatter(lambda x, _: f"{math.exp(min(x, 700)):.2g}")


def limits_of(values: Iterable[float]) -> Limits:
    """Room for zero and every finite value."""
    finite = [0.0, *(x for x in values if math.isfinite(x))]
    low, high = min(finite), max(finite)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def arm_label(row: Row, rows: Sequence[Row], width: int = LABEL_WIDTH) -> str:
    """The shortest name of the row that is unique among `rows`."""
    short = short_label(row.arm, [other.arm for other in rows], width)
    return row.name.replace(row.arm.label, short, 1)
