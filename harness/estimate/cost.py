"""Costs of cells: the tokens that each group would feed its model, counted without weights.

Generated texts are counted at their greatest length, and tokens with which different prompts begin
count in each of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from steereval.harness.assets import model_at_hand
from steereval.harness.config.grid import ModelSpec
from steereval.harness.engine.fit_request import fit_request
from steereval.harness.engine.merged_requests import wanted
from steereval.harness.engine.replay import Replay, evaluated
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.token_counting import TokenCountingLM
from steereval.harness.engine.treatments import Treatment, folds_of, unfitted, unsteered
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import one_of_each_arm, one_of_each_task
from steereval.harness.planning.task_resources import TaskResources, own_text
from steereval.harness.planning.token_cost import Cost
from steereval.models.artefacts.artefact import Artefact
from steereval.models.methods.registry import get_method
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer


@dataclass
class Counter:
    """Counts for the groups of cells of a plan, model by model."""

    resources: TaskResources
    """Tasks and contrast sets."""
    batch_size: int
    """Prompts that generate together."""
    _loaded: tuple[ModelSpec, TokenCountingLM] | None = None

    def count(self, group: Sequence[Cell]) -> Cost:
        """The cost of `group`. Raises a SteerEvalError if model or data are not at hand."""
        cost = self._count(group)
        tasks = one_of_each_task(group)
        if len(tasks) == 1:
            return cost
        # A task that runs alone shares no requests with others.
        by_task = [[cell for cell in group if cell.task == first.task] for first in tasks]
        apart = sum(map(self._count, by_task), Cost())
        return replace(cost, tokens_unshared=apart.tokens_unshared, flops_alone=apart.flops_alone)

    def _count(self, group: Sequence[Cell]) -> Cost:
        lm = self._model(group[0].model)
        lm.steering_backend.cost = Cost()
        ask(lm, group, self.resources, (_Anything, _PerQuery))
        return lm.steering_backend.cost

    def _model(self, spec: ModelSpec) -> TokenCountingLM:
        key = spec.without_layers()
        if self._loaded is None or self._loaded[0] != key:
            lm = TokenCountingLM(spec, model_at_hand(spec.name), self.batch_size)
            self._loaded = key, lm
        return self._loaded[1]


Kinds = tuple[type[Steerer], type[Steerer]]
"""Steerers that stand in: one for those that act alike on all queries, one for the others."""


def ask(lm: SteeredLM, group: Sequence[Cell], resources: TaskResources, kinds: Kinds) -> float:
    """Let `lm` answer what the tasks of `group` ask first, with `kinds` in place of what will be
    fitted; the seconds that it took."""
    task = resources.task(group[0])
    lm.own_text = own_text(task)
    arms = one_of_each_arm(group)
    treatments = [_stand_in(cell, lm, resources, kinds) for cell in arms]
    wanted_requests = wanted(
        one_of_each_task(group), lambda cell: evaluated(Replay({}, lm), resources.task(cell), cell)
    )
    start = time.perf_counter()
    for kind, merged in wanted_requests.items():
        lm.answer(kind, merged.requests, treatments, [cell.sample_seed for cell in arms])
    return time.perf_counter() - start


def _stand_in(cell: Cell, lm: SteeredLM, resources: TaskResources, kinds: Kinds) -> Treatment:
    """A treatment that acts where the cell's will, on the same documents and tokens."""
    if cell.method.name == "none" or cell.strength == 0:
        return unsteered()
    owned = any(kind.per_query for kind in get_method(cell.method.name).kinds)
    steerer = kinds[owned](dimension=0)
    sites = lm.fitter.sites(fit_request(cell))
    artefact = Artefact(dict.fromkeys(sites, steerer), {})
    name, positions = cell.method.name, Positions(cell.positions)
    treatment = unfitted(artefact, name, cell.strength, "absolute", positions)
    if cell.contrast is None:
        return treatment
    return replace(treatment, fold_of=folds_of(resources.contrast(cell.contrast)))


@dataclass(frozen=True)
class _Anything(Steerer):
    """Stands where a fitted steerer will."""

    method = "any"

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """Never called: nothing runs."""
        raise NotImplementedError


@dataclass(frozen=True)
class _PerQuery(_Anything):
    """Stands where one will that decides per query."""

    per_query = True
