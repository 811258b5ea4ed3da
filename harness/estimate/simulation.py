"""A grid played through on a cluster of a given size, without running it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steereval.common.errors import InputError
from steereval.harness.config.grid import Grid
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.preflight import at_hand
from steereval.harness.run.group_parts import all_parts, largest_part
from steereval.harness.run.group_work import work_of
from steereval.ray_jobs.rules import Rules
from steereval.ray_jobs.simulate import Chance, simulate
from steereval.ray_jobs.work import Work

OPERATIONS = "TFLOP"
"""The unit of `work_items`."""


@dataclass(frozen=True)
class Machines:
    """The cluster of a simulation. Raises InputError for one that cannot be."""

    nodes: int
    """How many there are, all alike."""
    gpus: int = 8
    """GPUs of each."""
    failures: float = 0.0
    """Share of tries at a group whose worker dies."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.nodes < 1:
            raise InputError(f"--simulate is {self.nodes}", "Use 1 node or more.")
        if self.gpus < 1:
            raise InputError(f"--gpus-per-node is {self.gpus}", "Use 1 or more.")
        if not 0 <= self.failures < 1:
            raise InputError(f"--failures is {self.failures:g}", "It lies from 0 to below 1.")


def check_room(grid: Grid, gpus: int) -> None:
    """Raise InputError for a model whose replica is larger than a node of `gpus` GPUs."""
    for model in grid.models:
        if model.gpus > gpus:
            raise InputError(
                f"a replica of {model.name} takes {model.gpus:g} GPUs, and a node has {gpus}",
                "Raise --gpus-per-node, or lower the model's `gpus`.",
            )


def work_items(grid: Grid, cells: Sequence[Cell], data_dir: Path | None) -> list[Work]:
    """The groups of `grid` as an executor with GPUs sees them, without time limits, since costs are
    not in seconds. Raises an InputError for a model or data that is not at hand: nothing is
    fetched."""
    prepared = at_hand(grid, data_dir)
    parts = all_parts(cells, prepared, largest_part(cores=None))
    works = [work_of(part, prepared, grid.run) for part in parts]
    return [replace(work, limit=None) for work in works]


def describe_simulation(
    works: Sequence[Work], machines: Machines, retries: int, unit: str
) -> Iterator[str]:
    """Lines about the schedule of `works` on all GPUs of `machines`; costs are in `unit`."""
    nodes = [float(machines.gpus)] * machines.nodes
    run = simulate(works, nodes, Chance(machines.failures), Rules(retries=retries))
    models = len({work.affinity for work in works})
    yield (
        f"simulated on {machines.nodes} nodes of {machines.gpus} GPUs: {len(works)} groups, "
        f"{models} to load; {machines.failures:.0%} of the tries fail"
    )
    yield (
        f"  it ends after {run.makespan:.4g} {unit}, {run.makespan / run.bound:.3f} times "
        f"the lower bound; GPUs are busy for {run.busy:.0%} of it"
    )
    yield (
        f"  models are loaded {run.loads} times, {run.loads / run.least_loads:.3f} times "
        "the least possible"
    )
    yield (f"  {run.deaths} workers die, {run.cut} groups are cut, {run.failed} cells are given up")
    yield f"  the scheduler itself took {1000 * run.seconds:.1f} ms"
