"""Power of larger designs: the least detectable effect over items and fit seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.report.plots.drawing import WIDTH, Absence, Picture, finish, house_style
from steereval.results.report.plots.palette import INK, MUTED, SERIES
from steereval.results.report.plots.profile_plot import DASHES
from steereval.results.stats import Variances, detectable_effects
from steereval.results.stats.effect import Floats
from steereval.results.store.manifest import RATIO

CAPTION = (
    "The least difference that a design detects (two-sided 5 %, power 80 %), from the variances of "
    "the method whose detectable difference is the middle one here. The ring is this run. Where a "
    "line flattens, more items no longer help: fits differ, and more seeds are needed. Where it "
    "leaps up, the fits have come to dominate, and with them the few degrees of freedom they leave."
)

SEEDS = (1, 3, 5, 10)
MOST_ITEMS = 5000
TICKS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, MOST_ITEMS)

POINTS = 24
"""Numbers of items at which a curve is computed."""

LINE = 10.5
"""Points of 1/72 inch between two labels at the lines' ends."""


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
    items = np.unique(np.geomspace(_least(effect.n_items), MOST_ITEMS, POINTS).astype(int))
    ends: dict[str, tuple[float, str]] = {}
    with house_style(WIDTH, 3.1) as figure:
        axes = figure.add_subplot()
        for place, count in enumerate(seeds):
            curve = scale * detectable_effects(variances, items, count)
            style = place % len(SERIES)
            axes.plot(items, curve, color=SERIES[style], linestyle=DASHES[style], linewidth=1.8)
            ends[f"{count} seed{'s' if count > 1 else ''}"] = (float(curve[-1]), SERIES[style])
        axes.plot(
            [effect.n_items], [scale * (typical.mde or 0.0)], "o", markersize=9,
            markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.5, zorder=5,
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = item_ticks(int(items[0]))
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
        _name_lines(axes, ends)
        name = slug("power", first.model, first.task.name, first.metric.name)
        return finish(figure, name, title, _words(typical, seeds, variances))


def item_ticks(least: int) -> list[int]:
    """From `least` on, with room for their numbers; the last is always there."""
    room = 0.13 * math.log(MOST_ITEMS / least)
    ticks: list[int] = [MOST_ITEMS]
    for tick in reversed(TICKS):
        if tick >= least and math.log(ticks[0] / tick) >= room:
            ticks.insert(0, tick)
    return ticks


def _name_lines(axes: Axes, ends: Mapping[str, tuple[float, str]]) -> None:
    """Name each line at its end, one label above the other where lines end together."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    points = [(MOST_ITEMS, height) for height, _ in ends.values()]
    heights = axes.transData.transform(points)[:, 1] * 72 / axes.figure.dpi
    for (name, (height, colour)), at_end, free in zip(
        ends.items(), heights, spread_heights(heights), strict=True
    ):
        axes.annotate(
            name, (MOST_ITEMS, height), (5, free - at_end), textcoords="offset points", va="center",
            fontsize=8.5, color=colour, annotation_clip=False,
        )  # fmt: skip


def spread_heights(heights: Floats) -> Floats:
    """`heights` moved up so that no two are nearer than LINE, in their order."""
    order = np.argsort(-heights, kind="stable")[::-1]
    moved = heights[order].copy()
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + LINE)
    spread = np.empty_like(moved)
    spread[order] = moved
    return spread


def _least(n_items: int) -> int:
    return min(50, max(n_items // 2, 5))


def _why_none(rows: Sequence[Row]) -> str:
    compared = [row.comparison for row in rows if row.comparison is not None]
    if not compared:
        return "nothing could be compared"
    if max(each.effect.n_clusters for each in compared) < 2:
        return "one item or cluster cannot show how items differ"
    if all(np.ptp(each.values) == 0.0 for each in compared):
        return "no item differs, so detectable effects cannot be estimated"
    return "no effect of any size could be significant with so few items or clusters"


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
    parts = []
    for count in seeds:
        mde = float(detectable_effects(variances, 1000, count))
        shown = wording.detectable(mde, row.metric, effect.se).removeprefix("this design detects ")
        parts.append(f"1000 items and {count} seed{'s' if count > 1 else ''}: {shown}")
    least = wording.detectable(row.mde or 0.0, row.metric, effect.se)
    return (
        f"{row.name}, {effect.n_items} items, {effect.n_seeds} seeds: {least}; {'; '.join(parts)}"
    )
