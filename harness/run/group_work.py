"""A group of cells as the executor sees it: its cost and what its worker must hold."""

from __future__ import annotations

from collections.abc import Sequence

from steereval.harness.config.grid import RunSpec
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import group_id
from steereval.harness.planning.known_cost import cost_about
from steereval.harness.planning.preflight import Prepared
from steereval.ray_jobs.work import Work

LOADING = 80_000
"""Loading a model on a GPU costs about as much as feeding it this many tokens."""
LOADING_ON_CPU = 2_000
"""The same without one, where tokens take far longer and weights lie in the page cache."""
READ_AGAIN = 0.5
"""Share of what is written that is fed once more, for its perplexity: what arms write alike is read
once."""


def work_of(
    group: Sequence[Cell], prepared: Prepared, run: RunSpec, loading: int = LOADING
) -> Work:
    """A group of cells as the executor sees it. Costs are in 10^12 operations; loading the model
    costs as much as `loading` tokens."""
    model, shape = group[0].model, prepared.shapes[group[0].model.name]
    limit = None if run.time_limit is None else run.time_limit * len(group)
    return Work(
        group_id(group), tuple(group), cost_of(group, prepared), affinity(group[0]),
        loading * shape.flops / 1e12, model.gpus, limit,
    )  # fmt: skip


def cost_of(group: Sequence[Cell], prepared: Prepared) -> float:
    """Operations that answer `group` together, in 10^12."""
    shape = prepared.shapes[group[0].model.name]
    cost = cost_about(group, shape, prepared.sizes)
    return (cost.flops + READ_AGAIN * cost.generated * shape.flops) / 1e12


def affinity(cell: Cell) -> str:
    """Cells with the same model stay with a worker that has loaded it; repetitions, which are to
    show what another worker does, have a key of their own."""
    model, repeated = cell.model, "|repeated" if cell.is_repeat else ""
    options = f"|{model.model_args}" if model.model_args else ""
    return f"{model.name}|{model.revision}|{model.peft}|{model.dtype}{options}{repeated}"
