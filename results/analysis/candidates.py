"""Which settings of an arm are reported: the chosen strengths, or each strength by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.inputs import Source
from steereval.results.analysis.pairing import Setting
from steereval.results.analysis.scores import Arm, Seed
from steereval.results.analysis.selection import (
    IMPORTED,
    NOT_CHOSEN,
    ONLY_STRENGTH,
    Choice,
    choose,
    selection_rule,
)
from steereval.results.store.manifest import Metric, Task


@dataclass(frozen=True)
class Candidate:
    """A setting that becomes a row, with the story of its strengths."""

    setting: Setting
    """The arm and its strengths; without strengths if no cell of it finished."""

    how_chosen: str
    """In words; empty for the baseline."""

    choices: Mapping[Seed, Choice]
    """What was chosen on validation items; empty if nothing was."""

    def validation_score(self) -> float | None:
        """Mean over fit seeds of the chosen strengths' validation scores."""
        scores = [choice.validation_score for choice in self.choices.values()]
        return float(np.mean(scores)) if scores else None


def candidates(source: Source, model: str, task: Task, arm: Arm) -> list[Candidate]:
    """The settings of `arm` that become rows; at least one, so that nothing planned is lost."""
    scores = source.scores.get((model, task.name))
    cells = [] if scores is None else [cell for cell in scores.cells if cell.arm == arm]
    if not cells:
        return [Candidate(Setting(arm, {}), "", {})]
    seeds = sorted({cell.fit_seed for cell in cells}, key=str)
    strengths = sorted({cell.strength for cell in cells})
    if arm.method == source.plan.baseline:
        return [Candidate(source.baseline(model, task.name), "", {})]
    if arm.method in source.plan.imported:
        return [Candidate(Setting(arm, dict.fromkeys(seeds, strengths[0])), IMPORTED, {})]
    if len(source.planned_strengths(model, arm)) <= 1:
        return [Candidate(Setting(arm, dict.fromkeys(seeds, strengths[0])), ONLY_STRENGTH, {})]
    chosen = _chosen(source, model, task, arm)
    if chosen is not None:
        return [chosen]
    each = [Setting(arm, dict.fromkeys(seeds, strength)) for strength in strengths]
    return [Candidate(setting, NOT_CHOSEN, {}) for setting in each]


def chosen_on(source: Source, task: Task, metric: Metric) -> bool:
    """Whether the strengths of `task` are chosen by this very task and metric."""
    rule = selection_rule(source.plan, task)
    return rule is not None and (rule.task, rule.metric.name) == (task.name, metric.name)


def _chosen(source: Source, model: str, task: Task, arm: Arm) -> Candidate | None:
    rule = selection_rule(source.plan, task)
    if rule is None or (model, rule.task) not in source.scores:
        return None
    choices = choose(source.scores[model, rule.task], arm, rule.metric)
    if not choices:
        return None
    strengths = {seed: choice.strength for seed, choice in choices.items()}
    return Candidate(Setting(arm, strengths), rule.words, choices)
