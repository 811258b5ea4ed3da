"""Labels of the points of a scatter plot, without overlap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from steereval.results.report.plots.palette import INK, MUTED

Point = tuple[float, float]

GAP, STEP, RINGS, DIRECTIONS = 5.0, 9.0, 9, 16
"""Places that are tried: rings around the point (in 1/72 inch), and directions on each."""

SIZE = 8.5
"""Of the letters, in 1/72 inch."""

CHARACTER, HEIGHT = 0.56 * SIZE, 1.3 * SIZE
"""About the width of a letter, and the height of a line."""

DOT = 4.0
"""Half the width of a point."""

WIDEST = 20
"""Characters of a name; longer ones are cut."""


FEW = 8
"""Points that a figure of the usual height has room to name."""


def height_for(usual: float, points: int) -> float:
    """Inches of height of a figure that names so many points."""
    return usual + 0.08 * max(0, points - FEW)


@dataclass(frozen=True)
class Box:
    """The rectangle that a name or a point covers, in 1/72 inch."""

    x: float
    """Of its centre."""

    y: float
    """Likewise."""

    width: float
    """From left to right."""

    height: float
    """From bottom to top."""

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        across = (self.width + other.width) / 2 - abs(self.x - other.x)
        along = (self.height + other.height) / 2 - abs(self.y - other.y)
        return max(across, 0.0) * max(along, 0.0)

    def distance(self, x: float, y: float) -> float:
        """From its edge to a point outside it."""
        across = max(abs(self.x - x) - self.width / 2, 0.0)
        return math.hypot(across, max(abs(self.y - y) - self.height / 2, 0.0))

    def outside(self, frame: Box) -> float:
        """How far it sticks out of `frame`."""
        across = abs(self.x - frame.x) + (self.width - frame.width) / 2
        along = abs(self.y - frame.y) + (self.height - frame.height) / 2
        return max(across, 0.0) + max(along, 0.0)


def place_labels(axes: Axes, points: Sequence[Point], labels: Sequence[str]) -> list[Box]:
    """Write each label next to its point, as near as there is room; a line leads to a far one.

    Args:
        axes: Whose limits and place in the figure must be final.
        points: In data coordinates.
        labels: One a point; cut to WIDEST characters.

    Returns:
        What each label covers.
    """
    scale = 72.0 / axes.figure.dpi
    pixels = axes.transData.transform(list(points))
    dots = [Box(float(x) * scale, float(y) * scale, 2 * DOT, 2 * DOT) for x, y in pixels]
    window = axes.get_window_extent()
    frame = Box(
        scale * (window.x0 + window.x1) / 2,
        scale * (window.y0 + window.y1) / 2,
        scale * window.width,
        scale * window.height,
    )
    placed: list[Box] = []
    for point, dot, label in zip(points, dots, labels, strict=True):
        text = label if len(label) <= WIDEST else f"{label[: WIDEST - 1]}…"
        box = _free(dot, text, [*placed, *dots], frame)
        placed.append(box)
        offset = box.x - dot.x, box.y - dot.y
        far = box.distance(dot.x, dot.y) > DOT + GAP + STEP / 2
        axes.annotate(
            text, point, offset, textcoords="offset points", ha="center", va="center",
            fontsize=SIZE, color=INK, zorder=6,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6} if far else None,
        )  # fmt: skip
    return placed


def _free(dot: Box, text: str, taken: Sequence[Box], frame: Box) -> Box:
    """The nearest box that covers nothing; the one that covers least if none does."""
    best, least = None, math.inf
    for box in _boxes(dot, CHARACTER * len(text), HEIGHT):
        covered = sum(box.overlap(other) for other in taken) + 100.0 * box.outside(frame)
        if covered == 0.0:
            return box
        if covered < least:
            best, least = box, covered
    assert best is not None
    return best


def _boxes(dot: Box, width: float, height: float) -> Iterator[Box]:
    """Places for a label of that size, the nearest ones first, right of the point at first."""
    for ring in range(RINGS):
        gap = DOT + GAP + STEP * ring
        for number in range(DIRECTIONS):
            # right, left, then turn by turn
            half, turn = divmod(number, 2)
            angle = math.pi * turn - 2 * math.pi * half / DIRECTIONS
            x = dot.x + math.cos(angle) * (gap + width / 2)
            y = dot.y + math.sin(angle) * (gap + height / 2)
            yield Box(x, y, width, height)
