"""What all figures share: colours, sizes, and the way from a drawing to SVG and PNG."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

from steereval.results.scores import Arm

INK = "#1c2430"
MUTED = "#66707c"
RULE = "#dde2e8"
PAPER = "#ffffff"
BAND = "#e9eef4"

TONE_COLOURS = {
    "good": "#0072b2",
    "bad": "#d55e00",
    "even": "#00795a",
    "open": "#6f7782",
    "none": "#9aa2ac",
}
"""Colours of verdicts, from Okabe and Ito's palette: told apart by colour-blind readers too."""

CURVE = "#0173b3"

WIDTH = 4.6
"""Inches; a phone shows it at three quarters of its size."""

_PAGE_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--card)",
    BAND: "var(--band)",
    CURVE: "var(--good)",
}
_PAGE_COLOURS |= {colour: f"var(--{tone})" for tone, colour in TONE_COLOURS.items()}

_RC = {
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
    """What it shows, in a few words."""

    caption: str
    """How it is read."""

    svg: str
    """A complete SVG file."""

    png: bytes
    """The same as PNG, 200 dots an inch."""

    @property
    def inline(self) -> str:
        """The SVG element for a page: colours follow the page, ids do not clash."""
        start = self.svg.index("<svg")
        text = re.sub(r"<metadata>.*?</metadata>", "", self.svg[start:], flags=re.DOTALL)
        text = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", text, count=1)
        for colour, variable in _PAGE_COLOURS.items():
            text = text.replace(colour, variable)
        prefix = "f" + hashlib.sha256(self.name.encode()).hexdigest()[:8]
        text = re.sub(r'\bid="', f'id="{prefix}-', text)
        return re.sub(r"(url\(|xlink:href=\")#", rf"\g<1>#{prefix}-", text)


@contextlib.contextmanager
def house_style(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches, and the house style for what is drawn meanwhile."""
    with mpl.rc_context(_RC):
        yield Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)


def finish(figure: Figure, name: str, title: str, caption: str) -> Picture:
    """Both file forms of a drawing; the same drawing gives the same bytes."""
    svg, png = io.StringIO(), io.BytesIO()
    with mpl.rc_context(_RC | {"svg.hashsalt": name}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.set_layout_engine("none")  # what the first pass has laid out stays
        figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
    return Picture(name, title, caption, svg.getvalue(), png.getvalue())


def short_label(arm: Arm, arms: Collection[Arm], width: int) -> str:
    """The method, with its layer where a method has several, cut to so many characters."""
    several = any(other.method == arm.method and other != arm for other in arms)
    label = arm.label if several else arm.method
    return label if len(label) <= width else f"{label[: width - 1]}…"


def slug(*parts: str) -> str:
    """`parts` as a file name; what cannot stand in one is told apart by a hash."""
    text = "-".join(parts)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
