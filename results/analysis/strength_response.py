"""The strength response: scores at every strength, exploratory, with what was chosen marked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steereval.results.analysis.candidates import reported_candidates
from steereval.results.analysis.inputs import Source
from steereval.results.analysis.pairing import Setting, one_side
from steereval.results.analysis.score import Score, score_of
from steereval.results.analysis.scores import Arm
from steereval.results.store.manifest import RATIO, Metric, Task


@dataclass(frozen=True)
class StrengthPoint:
    """One arm at one strength, on test items; never a basis for choosing the strength."""

    model: str
    """The model's label."""

    task: Task
    """The task."""

    metric: Metric
    """The metric."""

    arm: Arm
    """Method and layers."""

    strength: float
    """The strength, 0 for the baseline."""

    score: Score | None
    """None if no cell of it finished."""

    n_chosen: int
    """In how many fit seeds this strength was chosen on validation items."""


def points_of_table(
    source: Source, model: str, task: Task, metric: Metric
) -> Iterator[StrengthPoint]:
    """Every planned arm and strength of one model, task and metric."""
    reported = list(reported_candidates(source, model, task))
    for arm in source.planned_arms(model, task.name):
        chosen = [
            strength
            for candidate in reported
            if candidate.choices and candidate.setting.arm == arm
            for strength in candidate.setting.strengths.values()
        ]
        for strength in sorted(source.planned_strengths(model, arm)):
            yield StrengthPoint(
                model=model,
                task=task,
                metric=metric,
                arm=arm,
                strength=strength,
                score=_score(source, model, task, metric, arm, strength),
                n_chosen=chosen.count(strength),
            )


def _score(
    source: Source, model: str, task: Task, metric: Metric, arm: Arm, strength: float
) -> Score | None:
    scores = source.scores.get((model, task.name))
    if scores is None:
        return None
    seeds = {c.fit_seed: strength for c in scores.cells if (c.arm, c.strength) == (arm, strength)}
    side = one_side(scores, Setting(arm, seeds), metric.name, metric.kind == RATIO)
    if side is None:
        return None
    return score_of(side, metric, scores, source.plan.confidence)
