"""Reported settings of an arm: the chosen strengths and layer, or each strength by itself."""

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

LAYERS_NOT_COMPARED = "; layers not compared: no fit seed has validation scores at all of them"


@dataclass(frozen=True)
class Candidate:
    """A setting that becomes a row, with the story of its strengths."""

    setting: Setting
    """The arm and its strengths; without strengths if no cell of it finished."""

    how_chosen: str
    """In words; empty for the baseline."""

    choices: Mapping[Seed, Choice]
    """Choices on validation items; empty if nothing was chosen."""

    is_layer_chosen: bool = False
    """Whether the layer was chosen too, so that the row stands for all layers of the method."""

    def validation_score(self) -> float | None:
        """Mean over fit seeds of the chosen strengths' validation scores."""
        scores = [choice.validation_score for choice in self.choices.values()]
        return float(np.mean(scores)) if scores else None


def reported_candidates(source: Source, model: str, task: Task) -> Iterator[Candidate]:
    """The settings of all arms that become rows, in the order of the grid.

    Where the grid chooses layers too, a method has one row: its layer and strengths with the best
    score on the validation items. One layer serves all fit seeds.
    """
    arms_of: dict[str, list[Arm]] = {}
    for arm in source.planned_arms(model, task.name):
        arms_of.setdefault(arm.method, []).append(arm)
    for arms in arms_of.values():
        best = _best_layer(source, model, task, arms) if chooses_layers(source) else None
        if best is not None:
            yield best
            continue
        for arm in arms:
            for candidate in candidates(source, model, task, arm):
                is_layer_open = bool(candidate.choices) and chooses_layers(source) and len(arms) > 1
                words = candidate.how_chosen + LAYERS_NOT_COMPARED * is_layer_open
                yield replace(candidate, how_chosen=words)


def chooses_layers(source: Source) -> bool:
    """Whether the layer of each method is chosen together with its strength."""
    return source.plan.select is not None and source.plan.select.layers


def arms_tried(source: Source, model: str, task: Task, arm: Arm) -> list[Arm]:
    """The arms among which `arm` was chosen: its method's layers, or itself alone."""
    if not chooses_layers(source):
        return [arm]
    return [each for each in source.planned_arms(model, task.name) if each.method == arm.method]


def _best_layer(source: Source, model: str, task: Task, arms: Sequence[Arm]) -> Candidate | None:
    """The candidate of the best layer; None for one layer, or if no layer can be scored.

    A layer's score is the mean over fit seeds of its best strength's score, over the seeds that all
    layers have; layers without any score are left out.
    """
    rule = selection_rule(source.plan, task)
    if len(arms) < 2 or rule is None or (model, rule.task) not in source.scores:
        return None
    choices = choose(source.scores[model, rule.task], arms, rule.metric)
    seeds = list(_seeds_of_all(choices))
    if not seeds:
        return None
    sign = 1 if rule.metric.higher_is_better else -1

    def score(arm: Arm) -> float:
        return sign * float(np.mean([choices[arm][seed].validation_score for seed in seeds]))

    # Ties go to the first layer in the grid.
    best = max(choices, key=lambda arm: (score(arm), -arms.index(arm)))
    words = f"{rule.words}, with one layer of {len(choices)} for all fit seeds"
    if unscored := [arm.layer for arm in arms if arm not in choices]:
        words += f"; layer {', '.join(unscored)} has no scores"
    if any(of_arm.keys() != set(seeds) for of_arm in choices.values()):
        words += f"; layers compared on {len(seeds)} of the fit seeds, which all of them have"
    strengths = {seed: choice.strength for seed, choice in choices[best].items()}
    return Candidate(Setting(best, strengths), words, choices[best], is_layer_chosen=True)


def _seeds_of_all(choices: Mapping[Arm, Mapping[Seed, Choice]]) -> Iterator[Seed]:
    """Fit seeds with a choice in every arm."""
    first, *others = list(choices.values()) or [{}]
    return (seed for seed in first if all(seed in other for other in others))


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
    choices = choose(source.scores[model, rule.task], [arm], rule.metric).get(arm)
    if not choices:
        return None
    strengths = {seed: choice.strength for seed, choice in choices.items()}
    return Candidate(Setting(arm, strengths), rule.words, choices)
