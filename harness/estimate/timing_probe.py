"""A short measurement before a grid runs: seconds of its groups, and what a replica takes.

Each model is loaded in a process of its own, as a worker would, and answers some items of its
smallest group of each kind, steered by a shift that stands in for what would be fitted. Time is
then taken to be proportional to the operations that `cost` counts.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import psutil
import torch
from torch import Tensor

from steereval.common.errors import ModelError
from steereval.harness.config.grid import Grid, ModelSpec
from steereval.harness.engine.loading import WorkerSettings, load_model
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.estimate.cost import Counter, ask
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import group_id, groups, tasks_named
from steereval.harness.planning.task_resources import TaskResources
from steereval.models.steering.steerer import Steerer
from steereval.ray_jobs.work import Work

ENOUGH = 2.0
"""Seconds of answering that are measured; items are added until it takes so long."""
MARGIN = 1.2
"""How much more than was seen a replica may take, since longer batches come."""
CONTEXT = 1 << 30
"""Bytes of GPU memory of a process in addition to its tensors."""
MOST = 8
"""Replicas on one GPU: more would only wait for one another."""
NOT_COUNTED = (
    "not counted: contrast sets that are read and fits, what methods compute beyond a shift "
    "(re_control most), scoring, and the perplexity of generated texts; texts are taken to be as "
    "long, and batches to be as good, as in the probe"
)


@dataclass(frozen=True)
class Rate:
    """How fast one kind of request was answered."""

    task: str
    """The task that was probed."""
    cells: int
    """Cells that were answered together."""
    items: int
    """Items of each."""
    seconds: float
    """How long it took."""
    flops: float
    """Operations that `cost` counts for it."""


@dataclass(frozen=True)
class Replica:
    """Measurements of one model."""

    load: float
    """Seconds of loading it."""
    memory: int
    """Bytes that it took at most: of its GPUs' tensors, or of main memory."""
    capacity: int
    """Bytes of one GPU, or of main memory."""
    on_gpu: bool
    """Which of them."""
    rates: dict[str, Rate]
    """By kind of request."""

    def in_words(self, name: str) -> str:
        """A line on its time to load, its memory, and the GPUs or replicas that suit it."""
        took = f"{name}: loaded in {self.load:.1f} s, at most {_gib(self.memory)} of "
        if self.on_gpu:
            gpus = suggested_gpus(self.memory, self.capacity)
            return f"{took}a GPU of {_gib(self.capacity)}: `gpus: {gpus:g}` suffices"
        fit = int(self.capacity / (MARGIN * self.memory))
        return f"{took}main memory: {fit} replicas fit into the {_gib(self.capacity)} here"


def suggested_gpus(memory: int, capacity: int) -> float:
    """GPUs of `capacity` bytes for a replica that took `memory`: a share of which a whole number
    fits, or a whole number."""
    need = (MARGIN * memory + CONTEXT) / capacity
    if need > 0.5:
        return float(math.ceil(need))
    together = min(math.floor(1 / need), MOST)
    return math.floor(100 / together) / 100


@dataclass(frozen=True)
class Probed:
    """Expected time of a grid on one replica of each model."""

    replicas: dict[ModelSpec, Replica]
    """By model, its layers left out."""
    groups: Sequence[tuple[tuple[Cell, ...], float]]
    """Each group with its seconds."""

    def lines(self) -> Iterator[str]:
        """The measurement, and the table of the groups."""
        for model, replica in self.replicas.items():
            yield replica.in_words(model.name)
            for rate in replica.rates.values():
                yield (
                    f"  {rate.items} items of {rate.task} in {rate.cells} cells: "
                    f"{rate.seconds:.2f} s"
                )
        yield "seconds of each group on one replica:"
        for group, seconds in self.groups:
            last = group[-1]
            yield (
                f"  {last.model.name[-24:]:24} {last.task.name:24} {last.layer or '-':>8} "
                f"{len(group):>6}{seconds:>11.1f}"
            )
        loading = sum(replica.load for replica in self.replicas.values())
        total = sum(seconds for _, seconds in self.groups) + loading
        yield f"  in all {total:.0f} s on one replica, {loading:.1f} s of loading among them"
        yield NOT_COUNTED

    def timed(self, works: Sequence[Work]) -> list[Work]:
        """The same works with costs in seconds."""
        seconds = {group_id(group): seconds for group, seconds in self.groups}
        return [
            replace(
                work,
                cost=seconds[work.id],
                load=self.replicas[work.units[0].model.without_layers()].load,
            )
            for work in works
        ]


def probe(grid: Grid, cells: Sequence[Cell], resources: TaskResources) -> Probed:
    """Measure every model of `grid`. Raises a SteerEvalError where one, or data, is not at hand,
    or where it cannot answer."""
    counter = Counter(resources, grid.run.batch_size)
    counted = [(group, counter.count(group).flops) for group in groups(cells)]
    smallest: dict[ModelSpec, dict[str, tuple[Cell, ...]]] = {}
    # Repetitions have another batch size.
    for group, _ in sorted(counted, key=lambda each: (each[0][0].is_repeat, each[1])):
        smallest.setdefault(group[0].model.without_layers(), {}).setdefault(
            _kind(group, resources), group
        )
    data_dir = None if resources.data_dir is None else str(resources.data_dir)
    settings = WorkerSettings("", data_dir, grid.run.batch_size, grid.run.device)
    replicas = {model: _apart(model, chosen, settings) for model, chosen in smallest.items()}
    timed = []
    for group, flops in counted:
        rate = replicas[group[0].model.without_layers()].rates[_kind(group, resources)]
        timed.append((group, flops * rate.seconds / rate.flops))
    return Probed(replicas, timed)


def _kind(group: Sequence[Cell], resources: TaskResources) -> str:
    """Text is generated one token after the other, and so at another speed."""
    return str(resources.task(group[0]).OUTPUT_TYPE)


def _apart(
    model: ModelSpec, chosen: dict[str, tuple[Cell, ...]], settings: WorkerSettings
) -> Replica:
    """Measure in a fresh process: the peak of this one would count what others left. Raises
    ModelError where that process is killed."""
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(measured, model, chosen, settings).result()
    except BrokenProcessPool as error:
        raise ModelError(
            f"the process that probed {model.name} was killed",
            "Memory may have run out: choose a smaller model or dtype, or another machine.",
        ) from error


def measured(
    model: ModelSpec, chosen: dict[str, tuple[Cell, ...]], settings: WorkerSettings
) -> Replica:
    """Load `model` and let it answer for the groups `chosen`, by kind of request."""
    start = time.perf_counter()
    lm = load_model(model, settings)
    load = time.perf_counter() - start
    resources = TaskResources(Path(settings.data_dir) if settings.data_dir else None)
    rates = {kind: _rate(lm, group, resources, settings) for kind, group in chosen.items()}
    if lm.device.type == "cuda":
        devices = range(torch.cuda.device_count())
        peak = sum(torch.cuda.max_memory_allocated(device) for device in devices)
        capacity = torch.cuda.get_device_properties(0).total_memory
        return Replica(load, peak, capacity, True, rates)
    return Replica(load, _peak(), psutil.virtual_memory().total, False, rates)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _peak() -> int:
    """Bytes of main memory that this process has taken at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _rate(
    lm: SteeredLM, group: tuple[Cell, ...], resources: TaskResources, settings: WorkerSettings
) -> Rate:
    """Time the group on its first items, as many as take `ENOUGH` seconds."""
    most = min(group[0].task.limit or sys.maxsize, len(resources.task(group[0]).eval_docs))
    items, first = 1, True
    while True:
        some = _first(group, items)
        taken = _seconds(lm, some, resources)
        if taken >= ENOUGH or (items == most and not first):
            break
        # The first time is longer than others, and is taken only where it is more than enough.
        first = False
        items = min(most, math.ceil(items * min(8.0, 1.5 * ENOUGH / taken)))
    flops = Counter(resources, settings.batch_size).count(some).flops
    return Rate(tasks_named(group), len(group), items, taken, flops)


def _first(group: Sequence[Cell], items: int) -> tuple[Cell, ...]:
    return tuple(replace(cell, task=replace(cell.task, limit=items)) for cell in group)


def _seconds(lm: SteeredLM, group: Sequence[Cell], resources: TaskResources) -> float:
    """Time of answering for `group`."""
    lm.forget()
    return ask(lm, group, resources, (_Nudge, _QueryNudge))


@dataclass(frozen=True)
class _Nudge(Steerer):
    """Costs what a shift costs, at any width."""

    method: ClassVar[str] = "nudge"

    def check_width(self, width: int) -> None:
        """Any will do."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:  # noqa: ARG002
        """Hardly anywhere: texts are to be as long as they are."""
        return x + 1e-6 * strength


@dataclass(frozen=True)
class _QueryNudge(_Nudge):
    """Stands where one will that decides per query."""

    per_query: ClassVar[bool] = True
