"""Intervals that never end unseen: within the axes, or in an arrowhead at their edge."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes

from steereval.results.store.manifest import Metric

Limits = tuple[float, float]

WIDE = 20.0
"""An interval that reaches further from the estimates than so many of their own spread gets an
arrowhead: with two fit seeds it would leave a single line of all else."""

HEADS = {(True, False): "<", (True, True): ">", (False, False): "v", (False, True): "^"}
"""{(is level, is the upper end): arrowhead}."""


def natural_limits(metric: Metric, is_difference: bool) -> Limits:
    """The range of a displayed score, or of a difference of two."""
    if not metric.in_points:
        return -math.inf, math.inf
    return (-100.0, 100.0) if is_difference else (0.0, 100.0)


def room_for(means: Iterable[float], ends: Iterable[float], natural: Limits) -> Limits:
    """Axis limits for estimates and the ends of their intervals, as far as these can be.

    Args:
        means: Estimates in the unit of display; those that are not finite are left out.
        ends: Ends of intervals, likewise.
        natural: The least and the largest value that there can be.
    """
    centres = [x for x in means if math.isfinite(x)] or [0.0]
    known = [x for x in ends if math.isfinite(x)]
    halves = sorted(min(abs(x - centre) for centre in centres) for x in known)
    typical = halves[len(halves) // 2] if halves else 0.0
    reach = WIDE * max(max(centres) - min(centres), typical)
    low, high = max(natural[0], min(centres) - reach), min(natural[1], max(centres) + reach)
    inside = [min(max(x, low), high) for x in known]
    low, high = min([*centres, *inside]), max([*centres, *inside])
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def draw_bar(
    axes: Axes, ends: Limits, at: float, limits: Limits, is_level: bool, **style: Any
) -> None:
    """The interval `ends` at the place `at` of the other axis, which is the upright one if
    `is_level`; an end beyond `limits` is an arrowhead on the edge."""
    low, high = (min(max(x, limits[0]), limits[1]) for x in ends)
    line = ([low, high], [at, at]) if is_level else ([at, at], [low, high])
    axes.plot(*line, solid_capstyle="butt", **style)
    colour, alpha = style.get("color"), style.get("alpha")
    for end, shown, is_upper in ((ends[0], low, False), (ends[1], high, True)):
        if end != shown:
            place = (shown, at) if is_level else (at, shown)
            axes.plot(
                *([x] for x in place), HEADS[is_level, is_upper], color=colour, alpha=alpha,
                markersize=5, clip_on=False,
            )  # fmt: skip
