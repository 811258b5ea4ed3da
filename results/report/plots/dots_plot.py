"""Estimates with intervals, one line a method, several kinds of them on it."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from steereval.common.text import slug
from steereval.results.questions.blocks import Dots, Line
from steereval.results.report.plots.drawing import WIDTH, Picture, finish, house_style
from steereval.results.report.plots.palette import MUTED, PAPER, SERIES

MARKS = ("o", "s", "D")
"""One a kind, so that kinds differ without colour."""

APART = 0.24
"""Between the kinds of one line, whose height is 1."""

LABEL_WIDTH = 24
"""Characters of a label of the axis."""


def dots_plot(dots: Dots) -> Picture:
    """The first kind is filled, the others are hollow: it is the one that counts."""
    height = 0.9 + (0.16 + 0.15 * len(dots.kinds)) * len(dots.labels) + 0.2 * len(dots.kinds)
    with house_style(WIDTH, height) as figure:
        axes = figure.add_subplot()
        for name, place in dots.levels:
            axes.axvline(
                dots.unit.scale * place, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0
            )
            axes.annotate(
                name, (dots.unit.scale * place, 1.0), (0, 2), ha="center", va="bottom",
                xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8.5,
                color=MUTED,
            )  # fmt: skip
        for number, kind in enumerate(dots.kinds):
            _kind(axes, dots, kind, number)
        axes.set_yticks(range(len(dots.labels)), [_short(label) for label in dots.labels])
        axes.set_ylim(len(dots.labels) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_facecolor("none")
        axes.tick_params(axis="x", labelcolor=MUTED)
        axes.margins(x=0.08)
        axes.set_xlabel(dots.x_label)
        figure.legend(loc="outside lower left", fontsize=8.5)
        text = "; ".join(_words(dots, kind) for kind in dots.kinds)
        return finish(figure, slug(dots.name), dots.title, text)


def _kind(axes: Axes, dots: Dots, kind: Line, number: int) -> None:
    colour, mark = SERIES[number % len(SERIES)], MARKS[number % len(MARKS)]
    shift = APART * (number - (len(dots.kinds) - 1) / 2)
    scale = dots.unit.scale
    for place, estimate in zip(kind.places, kind.estimates, strict=True):
        if math.isfinite(estimate.low) and math.isfinite(estimate.high):
            ends = [scale * estimate.low, scale * estimate.high]
            axes.plot(ends, [place + shift] * 2, color=colour, linewidth=1.6)
    axes.plot(
        [scale * estimate.mean for estimate in kind.estimates],
        [place + shift for place in kind.places],
        mark, color=colour, markersize=5.5, label=kind.label, markeredgewidth=1.4,
        markeredgecolor=colour, markerfacecolor=PAPER if number else colour,
    )  # fmt: skip


def _short(label: str) -> str:
    return label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 1]}…"


def _words(dots: Dots, kind: Line) -> str:
    values = ", ".join(
        f"{dots.labels[int(place)]} {estimate.words(dots.unit)}"
        for place, estimate in zip(kind.places, kind.estimates, strict=True)
    )
    return f"{kind.label}: {values}"
