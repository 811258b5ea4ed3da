"""Which settings of an arm are reported: the chosen strengths, or each strength by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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


def reported_candidates(source: Source, model: str, task: Task) -> Iterator[Candidate]:
    """The settings of all arms that become rows, in the order of the grid.

    Where the grid chooses layers too, a method has one row: its layer and strengths with the best
    score on the validation items. One layer serves all fit seeds.
    """
    rule = selection_rule(source.plan, task)
    layers_of: dict[str, list[Arm]] = {}
    for arm in source.planned_arms(model, task.name):
        layers_of.setdefault(arm.method, []).append(arm)
    for arms in layers_of.values():
        best = None
        if rule is not None and source.plan.select is not None and source.plan.select.layers:
            best = _best_layer(source, model, task, arms, rule.metric.higher_is_better)
        if best is not None:
            yield best
            continue
        for arm in arms:
            yield from candidates(source, model, task, arm)


def _best_layer(
    source: Source, model: str, task: Task, arms: Sequence[Arm], is_higher_better: bool
) -> Candidate | None:
    """The candidate of the best layer; None for one layer, or if no layer can be scored."""
    chosen = [] if len(arms) < 2 else [_chosen(source, model, task, arm) for arm in arms]
    scored = [
        (score, candidate)
        for candidate in chosen
        if candidate is not None and (score := candidate.validation_score()) is not None
    ]
    if not scored:
        return None
    sign = 1 if is_higher_better else -1
    # Ties go to the first layer in the grid.
    _, best = max(scored, key=lambda pair: sign * pair[0])
    budget = {
        seed: sum(each.choices[seed].n_candidates for _, each in scored if seed in each.choices)
        for seed in best.choices
    }
    choices = {
        seed: replace(choice, n_candidates=budget[seed]) for seed, choice in best.choices.items()
    }
    words = f"{best.how_chosen}, with the layer out of {len(arms)}"
    return Candidate(best.setting, words, choices)


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
