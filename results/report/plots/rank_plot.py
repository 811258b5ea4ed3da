"""The critical-difference diagram of Demšar (2006): mean ranks over tasks, and ties of them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from steereval.common.text import slug
from steereval.results.analysis.across_tasks import Across
from steereval.results.report.plots.drawing import WIDTH, Absence, Picture, finish, house_style
from steereval.results.report.plots.palette import CURVE, INK, MUTED
from steereval.results.stats import Friedman
from steereval.results.stats.tasks import ENOUGH_TASKS

CAPTION = (
    "Mean ranks over the target tasks, 1 the best. Methods that a bar joins do not differ "
    "significantly by Nemenyi's test at 5 %: their ranks lie within the critical difference."
)

LABEL_WIDTH = 22
LINE, TOP = 0.26, 0.75
"""Inches between two lines, and above the first."""


def rank_plot(model: str, across: Across | None, n_targets: int) -> Picture | Absence:
    """The diagram of a model with `n_targets` target tasks."""
    if across is None or across.friedman is None:
        if n_targets < ENOUGH_TASKS:
            return Absence(
                model, f"ranks need {ENOUGH_TASKS} target tasks or more, and there are {n_targets}"
            )
        return Absence(model, f"fewer than {ENOUGH_TASKS} target tasks could be ranked in points")
    friedman = across.friedman
    order = sorted(range(len(friedman.ranks)), key=lambda i: friedman.ranks[i])
    shortest = _shortest(across.ranked)
    ranks, names = [friedman.ranks[i] for i in order], [shortest[i] for i in order]
    bars = cliques(ranks, friedman.critical_difference)
    lines = (len(ranks) + 1) // 2
    with house_style(WIDTH, TOP + 0.12 * len(bars) + LINE * (lines + 0.6)) as figure:
        axes = figure.add_subplot()
        axes.axis("off")
        _scale(axes, len(ranks), friedman)
        depth = _bars(axes, ranks, bars)
        _names(axes, ranks, names, depth)
        title = f"{model}: {len(across.tasks)} target tasks"
        return finish(figure, slug("ranks", model), title, _words(ranks, names, bars))


def _shortest(names: Sequence[str]) -> list[str]:
    """Without the layers, where the methods alone are distinct."""
    methods = [name.split(" (")[0] for name in names]
    return methods if len(set(methods)) == len(methods) else list(names)


def cliques(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """(first, last) of every largest group of ascending `ranks` within `difference`."""
    ends = [
        max(j for j in range(i, len(ranks)) if ranks[j] - ranks[i] <= difference)
        for i in range(len(ranks))
    ]
    groups = [(i, end) for i, end in enumerate(ends) if end > i]
    return [g for g in groups if not any(o != g and o[0] <= g[0] and g[1] <= o[1] for o in groups)]


def _scale(axes: Axes, k: int, friedman: Friedman) -> None:
    """The axis of ranks, and the length of the critical difference above it."""
    axes.set_xlim(1 - 0.55 * (k - 1), k + 0.55 * (k - 1))
    axes.plot([1, k], [0, 0], color=MUTED, linewidth=1.2)
    for rank in range(1, k + 1):
        axes.plot([rank, rank], [0, 0.12], color=MUTED, linewidth=1)
        if k <= 12 or rank % 2:
            axes.text(rank, 0.2, str(rank), ha="center", va="bottom", fontsize=8.5, color=MUTED)
    end = 1 + min(friedman.critical_difference, k - 1)
    axes.plot([1, end], [1.05, 1.05], color=INK, linewidth=1.6)
    axes.text(
        (1 + end) / 2, 1.15, f"critical difference {friedman.critical_difference:.2f}", ha="center",
        va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip


def _bars(axes: Axes, ranks: Sequence[float], bars: Sequence[tuple[int, int]]) -> float:
    """Draw the groups below the axis; how deep they reach."""
    for place, (first, last) in enumerate(bars):
        depth = -0.35 - 0.4 * place
        axes.plot([ranks[first], ranks[last]], [depth] * 2, color=CURVE, linewidth=3.2)
    return 0.35 + 0.4 * len(bars)


def _names(axes: Axes, ranks: Sequence[float], names: Sequence[str], depth: float) -> None:
    """The better half on the left, the others on the right, each led to its rank."""
    half = (len(ranks) + 1) // 2
    low, high = axes.get_xlim()
    for i, (rank, name) in enumerate(zip(ranks, names, strict=True)):
        left = i < half
        place = i if left else len(ranks) - 1 - i
        y = -depth - 0.7 - 0.9 * place
        edge = 1 - 0.04 * (len(ranks) - 1) if left else len(ranks) + 0.04 * (len(ranks) - 1)
        axes.plot([rank, rank, edge], [0, y, y], color=MUTED, linewidth=0.9)
        short = name if len(name) <= LABEL_WIDTH else f"{name[: LABEL_WIDTH - 1]}…"
        gap = 0.015 * (high - low)
        axes.text(
            edge - gap if left else edge + gap, y, short, ha="right" if left else "left",
            va="center", fontsize=8.5, color=INK,
        )  # fmt: skip
    axes.set_ylim(-depth - 0.7 - 0.9 * (half - 1) - 0.6, 1.9)


def _words(ranks: Sequence[float], names: Sequence[str], bars: Sequence[tuple[int, int]]) -> str:
    text = "; ".join(f"{name} {rank:.2f}" for name, rank in zip(names, ranks, strict=True))
    joined = ["not distinguished: " + ", ".join(names[a : b + 1]) for a, b in bars]
    return "; ".join([text, *joined])
