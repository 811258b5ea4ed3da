"""Points with intervals on both axes, each with its name."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from steereval.common.text import slug
from steereval.results.questions.blocks import Scatter
from steereval.results.questions.estimate import Estimate
from steereval.results.report.plots.drawing import WIDTH, Picture, finish, house_style
from steereval.results.report.plots.label_placement import height_for, place_labels
from steereval.results.report.plots.palette import CURVE, MUTED


def scatter_plot(scatter: Scatter) -> Picture:
    """Every point with its name; the lines of comparison cross where nothing changes."""
    with house_style(WIDTH, height_for(3.1, len(scatter.points))) as figure:
        axes = figure.add_subplot()
        _frame(axes, scatter)
        for _, x, y in scatter.points:
            _cross(axes, scatter, x, y)
        axes.margins(0.12)
        figure.draw_without_rendering()  # lays out the axes, which places of labels depend on
        place_labels(
            axes,
            [_centre(scatter, x, y) for _, x, y in scatter.points],
            [name for name, _, _ in scatter.points],
        )
        words = (
            f"{name}: {x.words(scatter.units[0])}, {y.words(scatter.units[1])}"
            for name, x, y in scatter.points
        )
        return finish(figure, slug(scatter.name), scatter.title, "; ".join(words))


def _frame(axes: Axes, scatter: Scatter) -> None:
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.tick_params(labelcolor=MUTED)
    axes.axvline(scatter.units[0].scale * scatter.cross[0], color=MUTED, linewidth=1.0)
    axes.axhline(scatter.units[1].scale * scatter.cross[1], color=MUTED, linewidth=1.0)
    axes.set_xlabel(scatter.x_label)
    axes.set_ylabel(scatter.y_label)


def _centre(scatter: Scatter, x: Estimate, y: Estimate) -> tuple[float, float]:
    return scatter.units[0].scale * x.mean, scatter.units[1].scale * y.mean


def _cross(axes: Axes, scatter: Scatter, x: Estimate, y: Estimate) -> None:
    centre = _centre(scatter, x, y)
    for estimate, unit, horizontal in ((x, scatter.units[0], True), (y, scatter.units[1], False)):
        if math.isfinite(estimate.low) and math.isfinite(estimate.high):
            ends = [unit.scale * estimate.low, unit.scale * estimate.high]
            line = (ends, [centre[1]] * 2) if horizontal else ([centre[0]] * 2, ends)
            axes.plot(*line, color=CURVE, linewidth=1.2, alpha=0.35)
    axes.plot([centre[0]], [centre[1]], "o", color=CURVE, markersize=6)
