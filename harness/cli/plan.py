"""`steereval plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from steereval.common.errors import InputError
from steereval.harness.cli.columns import print_text
from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import read_data_dir, read_grid
from steereval.harness.cli.options import (
    data_dir_option,
    grid_argument,
    include_path_option,
    limit_option,
)

if TYPE_CHECKING:
    from steereval.harness.config.grid import Grid
    from steereval.harness.estimate.simulation import Machines
    from steereval.harness.planning.cell import Cell
    from steereval.harness.planning.task_resources import TaskResources


@command(
    examples=[
        "steereval plan examples/quickstart.yaml",
        "steereval plan grid.yaml --probe --simulate 4 --gpus-per-node 8",
    ]
)
@grid_argument
@data_dir_option()
@include_path_option
@limit_option
@click.option(
    "--all", "is_whole", is_flag=True, help="Show every row: by model, task, method and layer."
)
@click.option(
    "--probe", is_flag=True, help="Load each model for a few seconds and measure its speed."
)
@click.option(
    "--simulate", type=int, metavar="NODES", help="Simulate the schedule on a cluster of NODES."
)
@click.option("--gpus-per-node", type=int, metavar="N", help="GPUs of each node (default: 8).")
@click.option(
    "--failures",
    type=float,
    metavar="SHARE",
    help="Share of simulated attempts that lose their worker (default: 0).",
)
def plan(
    grid: str,
    data_dir: str | None,
    include_path: str | None,
    limit: int | None,
    is_whole: bool,
    probe: bool,
    simulate: int | None,
    gpus_per_node: int | None,
    failures: float | None,
) -> None:
    """Show the cells, the cost and the detectable effect of a grid.

    Nothing is run or downloaded.
    """
    from steereval.harness.cli.plan_tables import print_plan
    from steereval.harness.config.included import with_members
    from steereval.harness.planning.plan import make_plan
    from steereval.harness.planning.preflight import check_models_at_hand
    from steereval.harness.planning.task_resources import TaskResources

    read = with_members(read_grid(grid, limit, include_path))
    machines = _machines(simulate, gpus_per_node, failures)
    cells, resources = make_plan(read), TaskResources(read_data_dir(data_dir))
    check_models_at_hand(read)
    print_plan(read, cells, resources, is_whole)
    if probe or machines:
        _measure(read, cells, resources, machines, probe)


def _machines(
    nodes: int | None, gpus_per_node: int | None, failures: float | None
) -> Machines | None:
    """The cluster to simulate; None without --simulate."""
    if nodes is None:
        for name, value in (("--gpus-per-node", gpus_per_node), ("--failures", failures)):
            if value is not None:
                raise InputError(f"{name} is {value:g} without --simulate", "Add --simulate NODES.")
        return None
    from steereval.harness.estimate.simulation import Machines

    return Machines(
        nodes, 8 if gpus_per_node is None else gpus_per_node, 0.0 if failures is None else failures
    )


def _measure(
    grid: Grid,
    cells: Sequence[Cell],
    resources: TaskResources,
    machines: Machines | None,
    is_probed: bool,
) -> None:
    """Print the speeds that a probe measures, and the schedule on a cluster."""
    from steereval.harness.estimate.simulation import (
        OPERATIONS,
        check_room,
        describe_simulation,
        work_items,
    )

    if machines:
        check_room(grid, machines.gpus)
    works, unit = work_items(grid, cells, resources.data_dir), OPERATIONS
    if is_probed:
        from steereval.harness.estimate.timing_probe import probe

        probed = probe(grid, cells, resources)
        works, unit = probed.timed(works), "s"
        print("\n".join(probed.lines()))
    if machines:
        for line in describe_simulation(works, machines, grid.run.retries, unit):
            print_text(line)
