"""Common parts of all figures: colours, sizes, and the export of a drawing to SVG and PNG."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from steereval.common.text import short_hash
from steereval.results.analysis.scores import Arm
from steereval.results.report.plots.palette import (
    INK,
    MUTED,
    PAPER,
    RULE,
    darken,
    darkened,
    with_variables,
)

WIDTH = 4.2
"""Inches; a phone of 390 pixels shows its points as 1.15 pixels."""

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
}


@dataclass(frozen=True)
class Picture:
    """A finished figure."""

    name: str
    """Fit for a file name."""

    title: str
    """Title in a few words."""

    alternative: str
    """Text alternative for readers who cannot see the figure."""

    svg: str
    """A complete SVG file, on white."""

    png: bytes
    """The same as PNG, 200 dots an inch."""

    dark_png: bytes
    """The same in the colours of the dark."""

    @property
    def dark_svg(self) -> str:
        """The SVG file in the colours of the dark."""
        return darkened(self.svg)

    @property
    def inline(self) -> str:
        """The SVG element for a page: colours follow the page, ids do not clash."""
        start = self.svg.index("<svg")
        text = re.sub(r"<metadata>.*?</metadata>", "", self.svg[start:], flags=re.DOTALL)
        text = re.sub(r"<title>.*?</title>", "", text, count=1, flags=re.DOTALL)
        text = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", text, count=1)
        text = with_variables(text)
        prefix = "f" + short_hash(self.name, 8)
        text = re.sub(r'\bid="', f'id="{prefix}-', text)
        return re.sub(r"(url\(|xlink:href=\")#", rf"\g<1>#{prefix}-", text)


@dataclass(frozen=True)
class Absence:
    """A figure that cannot be drawn."""

    title: str
    """Title of the missing figure."""

    reason: str
    """Why there is nothing to draw."""


@contextlib.contextmanager
def house_style(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches, and the house style for what is drawn meanwhile."""
    with mpl.rc_context(_RC):
        yield Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)


def finish(figure: Figure, name: str, title: str, alternative: str) -> Picture:
    """All file forms of a drawing, which is dark afterwards; the same drawing gives the same bytes.

    `alternative` describes the figure in words.
    """
    svg = io.StringIO()
    facts = {"Date": None, "Title": title, "Description": alternative}
    with mpl.rc_context(_RC | {"svg.hashsalt": name}):
        figure.savefig(svg, format="svg", metadata=facts)
        figure.set_layout_engine("none")  # what the first pass has laid out stays
        light = _png(figure)
        darken(figure)
        dark = _png(figure)
    return Picture(name, title, alternative, svg.getvalue(), light, dark)


def _png(figure: Figure) -> bytes:
    """Drawn by the canvas itself: `savefig` would draw everything twice."""
    sink = io.BytesIO()
    figure.set_dpi(200)
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(sink, metadata={"Software": None}, pil_kwargs={"compress_level": 3})
    return sink.getvalue()


def short_label(arm: Arm, arms: Collection[Arm], width: int) -> str:
    """The method, with its layer where a method has several, cut to so many characters."""
    several = any(other.method == arm.method and other != arm for other in arms)
    label = arm.label if several else arm.method
    return label if len(label) <= width else f"{label[: width - 1]}…"
