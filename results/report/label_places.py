"""Short labels beside the points of a scatter plot, none on top of another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from steereval.results.report.palette import INK, MUTED

Point = tuple[float, float]

NEAR, STEP, RINGS, DIRECTIONS = 9.0, 7.0, 8, 12
"""Places that are tried: rings around the point (points of 1/72 inch), and directions on each."""

APART = 10.0
"""Centres of two labels, or of a label and a point, are at least so far from each other."""


def place_labels(axes: Axes, points: Sequence[Point], labels: Sequence[str]) -> None:
    """Write each label beside its point, as near as there is room; a line leads to a far one.

    The axes' limits and their place in the figure must be final.
    """
    scale = 72.0 / axes.figure.dpi
    pixels = axes.transData.transform(list(points))
    centres = [(float(x) * scale, float(y) * scale) for x, y in pixels]
    taken = list(centres)
    for point, centre, label in zip(points, centres, labels, strict=True):
        offset = _free(centre, taken)
        taken.append((centre[0] + offset[0], centre[1] + offset[1]))
        far = math.hypot(*offset) > NEAR + STEP
        axes.annotate(
            label, point, offset, textcoords="offset points", ha="center", va="center",
            fontsize=8.5, color=INK, zorder=6,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6} if far else None,
        )  # fmt: skip


def _free(centre: Point, taken: Sequence[Point]) -> Point:
    """The nearest offset whose label keeps its distance; the farthest tried if none does."""
    offset = (NEAR, NEAR)
    for offset in _offsets():
        x, y = centre[0] + offset[0], centre[1] + offset[1]
        if all(math.hypot(x - a, y - b) >= APART for a, b in taken if (a, b) != centre):
            return offset
    return offset


def _offsets() -> Iterator[Point]:
    for ring in range(RINGS):
        radius = NEAR + STEP * ring
        for place in range(DIRECTIONS):
            angle = math.pi / 4 - 2 * math.pi * place / DIRECTIONS
            yield radius * math.cos(angle), radius * math.sin(angle)
