"""Seed strip plots: every fit seed's difference to the baseline, to see how far fits spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.report.plots.difference_axis import (
    arm_label,
    limits_of,
    set_differences,
    set_places,
)
from steereval.results.report.plots.drawing import WIDTH, Absence, Picture, finish, house_style
from steereval.results.report.plots.palette import TONE_COLOURS
from steereval.results.report.summary import tone_of
from steereval.results.stats.effect import Floats
from steereval.results.store.manifest import RATIO

CAPTION = (
    "Each dot is the difference to the baseline of one fit seed, the bar their mean; darker dots "
    "are several. Where they lie as far from each other as from no difference, a single fit would "
    "have proved nothing."
)


def seed_plot(rows: Sequence[Row]) -> Picture | Absence:
    """The strip plot of one model, task and metric."""
    first = rows[0]
    title = f"{first.model}: {first.task.name} · {first.metric.name}"
    compared = [row for row in rows if row.comparison is not None]
    seeds = {row.name: _of_seeds(row) for row in compared}
    if not compared:
        return Absence(title, "nothing could be compared")
    if max(map(len, seeds.values())) < 2:
        return Absence(title, "no method was fitted with several seeds")
    with house_style(WIDTH, 0.95 + 0.3 * len(compared)) as figure:
        axes = figure.add_subplot()
        places = set_places(axes, [arm_label(row, compared) for row in compared])
        for place, row in zip(places, compared, strict=True):
            dots, colour = seeds[row.name], TONE_COLOURS[tone_of(row)]
            axes.plot(
                dots, [place] * len(dots), "o", color=colour, markersize=6, alpha=0.65,
                markeredgewidth=0,
            )  # fmt: skip
            if len(dots) > 1:
                mean = float(dots.mean())
                axes.plot([mean] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2)
        limits = limits_of(float(x) for dots in seeds.values() for x in dots)
        set_differences(axes, first.metric, limits, "difference to the baseline")
        name = slug("seeds", first.model, first.task.name, first.metric.name)
        return finish(figure, name, title, "; ".join(_words(row, seeds) for row in compared))


def _of_seeds(row: Row) -> Floats:
    """[seeds]: the mean differences of the fits, as they are drawn."""
    if row.comparison is None:
        return np.empty(0)
    means: Floats = wording.scale_of(row.metric) * row.comparison.values.mean(axis=0)
    return means


def _words(row: Row, seeds: dict[str, Floats]) -> str:
    dots = seeds[row.name]
    if len(dots) < 2:
        return f"{row.name} has one fit"
    if row.metric.kind == RATIO:
        return (
            f"{row.name}: {len(dots)} seeds from × {wording.factor(float(dots.min()))} to "
            f"× {wording.factor(float(dots.max()))}"
        )
    low, high = (wording.number(float(x), 1, True) for x in (dots.min(), dots.max()))
    return f"{row.name}: {len(dots)} seeds from {low} to {high}"
