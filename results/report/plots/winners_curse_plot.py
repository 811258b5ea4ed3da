"""The winner's curse as a figure: gains where strengths were chosen, and on the test items."""

from __future__ import annotations

from collections.abc import Sequence

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.winners_curse import Choosing
from steereval.results.report.plots.difference_axis import (
    arm_label,
    limits_of,
    set_factors,
    set_places,
)
from steereval.results.report.plots.drawing import WIDTH, Absence, Picture, finish, house_style
from steereval.results.report.plots.palette import CURVE, MUTED, PAPER
from steereval.results.report.tables.winners_curse import gain_words
from steereval.results.store.manifest import RATIO

CAPTION = (
    "Rings: the gain over the baseline on the validation items on which the strength was chosen. "
    "Dots: the gain of the same strength on the test items. A line that runs to the left is the "
    "winner's curse."
)


def choosing_plot(choosings: Sequence[Choosing]) -> Picture | Absence:
    """The gains of the methods of one model, task and metric that had a choice."""
    first, rows = choosings[0].row, [each.row for each in choosings]
    title = f"{first.model}: {first.task.name} · {first.metric.name}"
    chosen = [each for each in choosings if each.n_candidates > 1]
    if not chosen:
        return Absence(title, "every method has one strength, so nothing was chosen")
    scale = wording.scale_of(first.metric)
    with house_style(WIDTH, 0.95 + 0.3 * len(chosen)) as figure:
        axes = figure.add_subplot()
        places = set_places(axes, [arm_label(each.row, rows) for each in chosen])
        for place, each in zip(places, chosen, strict=True):
            before, after = scale * each.on_validation.gain, scale * each.on_test.gain
            axes.plot([before, after], [place, place], color=MUTED, linewidth=1.4)
            axes.plot([after], [place], "o", color=CURVE, markersize=6.5)
            axes.plot(
                [before], [place], "o", markersize=7.5, markerfacecolor=PAPER,
                markeredgecolor=CURVE, markeredgewidth=1.6,
            )  # fmt: skip
        ends = [g.gain for each in chosen for g in (each.on_validation, each.on_test)]
        limits = limits_of(scale * end for end in ends)
        axes.set_xlim(*limits)
        unit = "points" if first.metric.in_points else first.metric.name
        if first.metric.kind == RATIO:
            unit = "perplexity divided by"
            set_factors(axes.xaxis, limits)
        axes.set_xlabel(f"gain over the baseline, {unit}   → better")
        name = slug("choosing", first.model, first.task.name, first.metric.name)
        return finish(figure, name, title, "; ".join(map(_words, chosen)))


def _words(each: Choosing) -> str:
    before, after = (
        gain_words(gain.gain, each.row.metric) for gain in (each.on_validation, each.on_test)
    )
    return f"{each.row.name}: {before} on validation items, {after} on test items"
