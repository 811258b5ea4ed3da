"""Curves over an axis, each with the band of its intervals."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from steereval.common.text import slug
from steereval.results.questions.blocks import Curves, Line
from steereval.results.report.plots.drawing import WIDTH, Picture, finish, house_style
from steereval.results.report.plots.palette import MUTED, SERIES, TONE_COLOURS
from steereval.results.report.plots.profile_plot import DASHES

LABEL_WIDTH = 24
"""Characters of a name in the key."""

KEY_COLUMNS = 2

MOST_BANDS = 3
"""With more lines than this only the first one has its band: the others would hide each other."""


def curves_plot(curves: Curves) -> Picture:
    """The first lines in colours and dashes of their own, those after them thin and grey."""
    named = min(len(curves.lines), len(SERIES))
    with house_style(WIDTH, 2.8 + 0.2 * math.ceil(named / KEY_COLUMNS)) as figure:
        axes = figure.add_subplot()
        if curves.is_log_x:
            axes.set_xscale("log")
        if curves.is_log_y:
            axes.set_yscale("log")
        for place in range(len(curves.lines) - 1, -1, -1):
            _line(axes, curves, curves.lines[place], place)
        for name, height in curves.levels:
            _level(axes, name, curves.unit.scale * height)
        _frame(axes, curves)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1], labels[::-1], loc="outside lower left", fontsize=8.5, handlelength=3.0,
            ncols=KEY_COLUMNS, columnspacing=1.2,
        )  # fmt: skip
        text = "; ".join(_words(curves, line) for line in curves.lines)
        return finish(figure, slug(curves.name), curves.title, text)


def _line(axes: Axes, curves: Curves, line: Line, place: int) -> None:
    scale = curves.unit.scale
    means = [scale * estimate.mean for estimate in line.estimates]
    style: dict[str, Any] = {"color": TONE_COLOURS["none"], "linewidth": 0.8, "alpha": 0.6}
    if place < len(SERIES):
        style = {"color": SERIES[place], "linestyle": DASHES[place], "linewidth": 1.8}
        style["label"] = _short(line.label)
        ends = [(scale * e.low, scale * e.high) for e in line.estimates]
        has_band = place == 0 or len(curves.lines) <= MOST_BANDS
        if has_band and all(math.isfinite(low) and math.isfinite(high) for low, high in ends):
            lows, highs = zip(*ends, strict=True)
            axes.fill_between(
                line.places, lows, highs, color=SERIES[place], alpha=0.16, linewidth=0
            )
    axes.plot(line.places, means, marker="o", markersize=3.5, **style)


def _level(axes: Axes, name: str, height: float) -> None:
    axes.axhline(height, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    axes.annotate(
        name, (1.0, height), (-2, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom", fontsize=8.5, color=MUTED,
    )  # fmt: skip


def _frame(axes: Axes, curves: Curves) -> None:
    if curves.ticks:
        axes.set_xticks([x for x, _ in curves.ticks], [name for _, name in curves.ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    if curves.is_log_y:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelcolor=MUTED)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.set_xlabel(curves.x_label)
    axes.set_ylabel(curves.y_label)


def _short(label: str) -> str:
    return label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 1]}…"


def _words(curves: Curves, line: Line) -> str:
    names = dict(curves.ticks)
    points = ", ".join(
        f"{estimate.words(curves.unit)} at {names.get(place, f'{place:.3g}')}"
        for place, estimate in zip(line.places, line.estimates, strict=True)
    )
    return f"{line.label}: {points}"
