"""Performance profiles: in how many tasks × fits a method gains at least so much.

The run-score distribution of Agarwal et al. 2021 ("Deep reinforcement learning at the edge of the
statistical precipice"), of differences to the baseline instead of normalised scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steereval.common.text import slug
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.scores import Arm
from steereval.results.report.plots.difference_axis import LABEL_WIDTH, limits_of
from steereval.results.report.plots.drawing import (
    WIDTH,
    Absence,
    Picture,
    finish,
    house_style,
    short_label,
)
from steereval.results.report.plots.palette import MUTED, SERIES, TONE_COLOURS
from steereval.results.stats.effect import Floats

CAPTION = (
    "The share of target tasks × fit seeds in which a method's difference to the baseline is at "
    "least so large. A line above another everywhere belongs to the method that gains more, "
    "for every gain. Steps of few runs are coarse, and no interval is drawn."
)

LEAST_TASKS = 3
"""With fewer the steps are as coarse as the table that they would be drawn from."""

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 3)), (0, (8, 3)))
"""One for each of SERIES, so that lines differ without colour."""


def profile_plot(rows: Sequence[Row]) -> Picture | Absence:
    """The profiles of a model's arms over its target tasks whose scores are in points."""
    model = rows[0].model
    in_points = [r for r in rows if r.is_confirmatory and r.metric.in_points]
    tasks = list(dict.fromkeys(row.task.name for row in in_points))
    runs = _runs(in_points, len(tasks))
    if len(tasks) < LEAST_TASKS:
        return Absence(
            model,
            f"a profile needs {LEAST_TASKS} target tasks in points or more, and the run has "
            f"{len(tasks)}",
        )
    if not runs:
        return Absence(model, "no method has a comparison on every target task")
    order = sorted(runs, key=lambda arm: -float(runs[arm].mean()))
    with house_style(WIDTH, 2.9 + 0.2 * min(len(order), len(SERIES))) as figure:
        axes = figure.add_subplot()
        limits = limits_of(float(x) for values in runs.values() for x in values)
        for place in range(len(order) - 1, -1, -1):
            style: dict[str, Any] = {"color": TONE_COLOURS["none"], "linewidth": 0.8, "alpha": 0.6}
            if place < len(SERIES):
                style = {"color": SERIES[place], "linestyle": DASHES[place], "linewidth": 1.8}
                style["label"] = short_label(order[place], order, LABEL_WIDTH)
            axes.plot(*profile_steps(runs[order[place]], limits), **style)
        axes.axvline(0.0, color=MUTED, linewidth=1.0, zorder=0)
        axes.set_xlim(*limits)
        axes.set_ylim(-2, 102)
        axes.tick_params(labelcolor=MUTED)
        axes.grid(axis="y")
        axes.set_facecolor("none")
        axes.set_xlabel("gain over the baseline of at least so many points")
        axes.set_ylabel(f"% of {len(tasks)} tasks × fits")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1], labels[::-1], loc="outside lower left", fontsize=8.5, handlelength=3.2
        )
        title = f"{model}: {len(tasks)} target tasks"
        if len(order) > len(SERIES):
            title += f"; named are the {len(SERIES)} best of {len(order)} methods"
        text = "; ".join(_words(arm, runs[arm]) for arm in order)
        return finish(figure, slug("profile", model), title, text)


def _runs(rows: Sequence[Row], n_tasks: int) -> dict[Arm, Floats]:
    """{arm: gains of its tasks × fits, in points} of the arms compared on every task."""
    means_of: dict[Arm, list[Floats]] = {}
    for row in rows:
        if row.comparison is not None:
            sign = 1.0 if row.metric.higher_is_better else -1.0
            means = sign * 100 * row.comparison.values.mean(axis=0)
            means_of.setdefault(row.arm, []).append(means)
    return {arm: np.concatenate(parts) for arm, parts in means_of.items() if len(parts) == n_tasks}


def profile_steps(values: Floats, limits: tuple[float, float]) -> tuple[Floats, Floats]:
    """Corners of the falling staircase: the share of `values` that are at least x."""
    ordered = np.sort(values)
    shares = 100 * np.arange(len(ordered), -1, -1) / len(ordered)
    x = np.concatenate([[limits[0]], np.repeat(ordered, 2), [limits[1]]])
    return x, np.repeat(shares, 2)


def _words(arm: Arm, values: Floats) -> str:
    share = 100 * float(np.mean(values > 0))
    return f"{arm.label}: improves in {share:.0f} % of {len(values)} runs"
