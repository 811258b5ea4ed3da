"""What larger designs would detect: the least detectable effect over items and fit seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from steereval.results import wording
from steereval.results.leaderboard import Row
from steereval.results.manifest import RATIO
from steereval.results.report.drawing import WIDTH, Absence, Picture, finish, house_style, slug
from steereval.results.report.palette import INK, MUTED, SERIES
from steereval.results.report.profile_plot import DASHES
from steereval.results.stats import Variances, detectable_effects

CAPTION = (
    "The least difference that a design detects (two-sided 5 %, power 80 %), from the variances of "
    "the method whose detectable difference is the middle one here. The ring is this run. Where a "
    "line flattens, more items no longer help: fits differ, and more seeds are needed. Where it "
    "leaps up, the fits have come to dominate, and with them the few degrees of freedom they leave."
)

SEEDS = (1, 3, 5, 10)
ITEMS = (50, 100, 200, 500, 1000, 2000, 5000)


def power_plot(rows: Sequence[Row]) -> Picture | Absence:
    """The curves of one model, task and metric."""
    first = rows[0]
    title = f"{first.model}: {first.task.name} · {first.metric.name}"
    known = [row for row in rows if row.mde is not None and 0 < row.mde < math.inf]
    if not known:
        return Absence(title, _why_none(rows))
    typical = sorted(known, key=lambda row: row.mde or 0.0)[len(known) // 2]
    assert typical.comparison is not None
    effect = typical.comparison.effect
    variances, scale = Variances.of(effect), wording.scale_of(first.metric)
    one_seed = effect.n_seeds == 1
    seeds = (1,) if one_seed else tuple(sorted({*SEEDS[1:], effect.n_seeds}))
    items = np.unique(np.geomspace(_least(effect.n_items), 5000, 60).astype(int))
    with house_style(WIDTH, 3.1) as figure:
        axes = figure.add_subplot()
        for place, count in enumerate(seeds):
            curve = scale * detectable_effects(variances, items, count)
            style = place % len(SERIES)
            axes.plot(items, curve, color=SERIES[style], linestyle=DASHES[style], linewidth=1.8)
            axes.annotate(
                f"{count} seed{'s' if count > 1 else ''}", (items[-1], curve[-1]), (5, 0),
                textcoords="offset points", va="center", fontsize=8.5, color=SERIES[style],
                annotation_clip=False,
            )  # fmt: skip
        axes.plot(
            [effect.n_items], [scale * (typical.mde or 0.0)], "o", markersize=9,
            markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.5, zorder=5,
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = [n for n in ITEMS if items[0] <= n <= items[-1]]
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _tick(y, first)))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelcolor=MUTED)
        axes.grid(axis="y")
        axes.set_facecolor("none")
        axes.set_xlabel("test items")
        axes.set_ylabel(_unit(first))
        name = slug("power", first.model, first.task.name, first.metric.name)
        return finish(figure, name, title, _words(typical, seeds, variances))


def _least(n_items: int) -> int:
    return min(50, max(n_items // 2, 5))


def _why_none(rows: Sequence[Row]) -> str:
    compared = [row.mde for row in rows if row.mde is not None]
    if not compared:
        return "nothing could be compared"
    if max(compared) == 0.0:
        return "no item differs, so what a design detects cannot be told"
    return "one item or cluster cannot show how items differ"


def _tick(value: float, row: Row) -> str:
    if row.metric.kind == RATIO:
        return f"{math.exp(min(value, 700)):.3g}"
    return f"{value:g}"


def _unit(row: Row) -> str:
    if row.metric.kind == RATIO:
        return "detectable factor of the perplexity"
    return "detectable points" if row.metric.in_points else f"detectable {row.metric.name}"


def _words(row: Row, seeds: Sequence[int], variances: Variances) -> str:
    assert row.comparison is not None
    effect = row.comparison.effect
    found = []
    for count in seeds:
        mde = float(detectable_effects(variances, 1000, count))
        shown = wording.detectable(mde, row.metric, effect.se).removeprefix("this design detects ")
        found.append(f"1000 items and {count} seed{'s' if count > 1 else ''}: {shown}")
    own = wording.detectable(row.mde or 0.0, row.metric, effect.se)
    return f"{row.name}, {effect.n_items} items, {effect.n_seeds} seeds: {own}; {'; '.join(found)}"
