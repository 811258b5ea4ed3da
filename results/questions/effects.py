"""Effects on tasks, from the leaderboard's rows, as estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steereval.results.analysis import wording
from steereval.results.analysis.comparison import guard_of
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.verdicts import oriented
from steereval.results.questions.estimate import PLAIN, POINTS, Estimate, Unit, estimate
from steereval.results.questions.evidence import Evidence
from steereval.results.stats import crossed_effect
from steereval.results.store.manifest import RATIO, Metric


def gain_of(row: Row) -> Estimate | None:
    """The row's difference to the baseline, turned so that more is better; None if untested."""
    if row.comparison is None:
        return None
    return estimate(oriented(row.comparison.effect, row.metric))


def brief_of(row: Row, rows: Sequence[Row]) -> str:
    """The method, with layers and strength where several of `rows` have it."""
    same = [other for other in rows if other.arm.method == row.arm.method]
    layers = {other.arm.layer for other in same}
    alone = [other for other in same if (other.arm, other.task) == (row.arm, row.task)]
    parts = [row.arm.layer_words] if len(layers) > 1 else []
    if len(alone) > 1:
        parts.append(", ".join(f"{x:g}" for x in dict.fromkeys(row.strengths.values())))
    return f"{row.arm.method} ({', '.join(parts)})" if parts else row.arm.method


def unit_of(metric: Metric) -> Unit:
    """How gains of a metric are written."""
    if metric.in_points:
        return POINTS
    if metric.kind == RATIO:
        return Unit("log of the perplexity, less is more", signed=True)
    return replace(PLAIN, name=metric.name, signed=True)


def gain_words(row: Row) -> str:
    """The row's difference in its own direction: "+2.1 points [-0.9, +5.1]"."""
    return "" if row.comparison is None else wording.difference(row.comparison.effect, row.metric)


def between(a: Row, b: Row, confidence: float) -> Estimate | None:
    """The gain of one row less that of another of the same model, task and metric.

    Paired by item and fit seed; None where their items or seeds are not the same.
    """
    if a.comparison is None or b.comparison is None:
        return None
    first, second = a.comparison, b.comparison
    ours, theirs = first.values, second.values
    if {None} in ({*first.seeds}, {*second.seeds}):
        count = max(len(first.seeds), len(second.seeds))
        ours, theirs = (np.repeat(v, count // v.shape[1], axis=1) for v in (ours, theirs))
    elif first.seeds != second.seeds:
        return None
    if ours.shape != theirs.shape:
        return None
    grouping = first.grouping
    sign = 1.0 if a.metric.higher_is_better else -1.0
    return estimate(
        crossed_effect(
            *(sign * (ours - theirs), grouping.clusters, grouping.folds, confidence),
            guard=guard_of(a.metric),
        )
    )


def targets(evidence: Evidence, model: str) -> list[Row]:
    """The rows of a model on its target tasks' primary metrics that were compared."""
    return [
        row
        for row in evidence.analysis.rows
        if row.model == model and row.is_confirmatory and row.comparison is not None
    ]
