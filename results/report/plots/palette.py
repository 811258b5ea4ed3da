"""The colours of figures: on paper, in the dark, and on the page, which names them as variables."""

from __future__ import annotations

from typing import Any

from matplotlib.collections import Collection
from matplotlib.colors import is_color_like, to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

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
    "harm": "#d55e00",
    "none": "#9aa2ac",
}
"""Colours of verdicts, from Okabe and Ito's palette: distinct for colour-blind readers too."""

CURVE = "#0173b3"

SERIES = ("#0072b2", "#d55e00", "#00795a", "#a04f86", "#8a6d00", "#56657a")
"""Lines of one plot; their dashes tell them apart too."""

_VARIABLES = {
    INK: ("ink", "#e5e9ef"),
    MUTED: ("muted", "#9ca6b3"),
    RULE: ("rule", "#2c343f"),
    PAPER: ("card", "#171c23"),
    BAND: ("band", "#232c38"),
    CURVE: ("good", "#5bb8ee"),
    TONE_COLOURS["good"]: ("good", "#5bb8ee"),
    TONE_COLOURS["bad"]: ("bad", "#f2905a"),
    TONE_COLOURS["even"]: ("even", "#45c79d"),
    TONE_COLOURS["open"]: ("open", "#a3acb8"),
    TONE_COLOURS["none"]: ("none", "#7d8793"),
    SERIES[3]: ("fourth", "#e29ac8"),
    SERIES[4]: ("fifth", "#e3c04a"),
    SERIES[5]: ("sixth", "#b0bccb"),
}
"""{colour on paper: (its variable on the page, the colour in the dark)}."""


def with_variables(svg: str) -> str:
    """`svg` with the page's variables for colours, which follow light, dark and print."""
    for colour, (variable, _) in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def darkened(svg: str) -> str:
    """`svg` in the colours of the dark."""
    for colour, (_, dark) in _VARIABLES.items():
        svg = svg.replace(colour, dark)
    return svg


def darken(figure: Figure) -> None:
    """Give every part of a drawing its colour in the dark."""
    for artist in figure.findobj():
        kind = next((kind for kind in _PARTS if isinstance(artist, kind)), None)
        for part in _PARTS[kind] if kind else ():
            colour = getattr(artist, f"get_{part}")()
            dark = _dark(colour)
            if dark is not None:
                getattr(artist, f"set_{part}")(dark)


_PARTS: dict[type, tuple[str, ...]] = {
    Line2D: ("color", "markerfacecolor", "markeredgecolor"),
    Text: ("color",),
    Patch: ("facecolor", "edgecolor"),
    Collection: ("facecolor", "edgecolor"),
}


def _dark(colour: Any) -> Any:
    """The colour in the dark, as opaque as it was; None for one that is the same in both."""
    if getattr(colour, "ndim", 0) == 2:  # one for each part of a collection
        return _dark(colour[0]) if len(colour) else None
    if not is_color_like(colour):
        return None
    *_, opacity = to_rgba(colour)
    known = _VARIABLES.get(to_hex(colour))
    return known and to_rgba(known[1], opacity)
