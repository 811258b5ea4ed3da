"""The noise floor: a cell and its repetition, with another batch size and perhaps worker.

Both compute the same (an A/A pair), so every difference is noise of the machine: rounding that
depends on what is computed together, and on where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.comparison import compare, untestable
from steereval.results.analysis.inputs import Source
from steereval.results.analysis.pairing import Pair, Setting, Side, one_side
from steereval.results.analysis.scores import Cell, Scores, TaskScores, vectors
from steereval.results.stats import Effect
from steereval.results.stats.effect import Labels
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.manifest import RATIO, Metric, Task
from steereval.results.store.run_folder import RunFolder

_ROUNDING = 1e-12
"""A spread below this share of the scores is that of their sums."""


@dataclass(frozen=True)
class NoiseFloor:
    """One metric of a cell that was computed twice, over the test items that both have."""

    model: str
    """The model's label."""

    task: Task
    """The task."""

    metric: Metric
    """The metric."""

    cell: Cell
    """The cell that was repeated."""

    n_items: int
    """Test items that both have."""

    n_differing: int
    """Those whose two scores are not equal."""

    largest: float
    """The largest difference between the two scores of an item, without its sign."""

    effect: Effect | None
    """The repetition minus the first; None where `untested` says why."""

    untested: str
    """Why no difference can be estimated; empty if it can."""

    seed_spread: float | None
    """Standard deviation of the arm's mean score between fit seeds at this strength, in the unit of
    `effect`; None with one fit seed."""

    n_seeds: int
    """Fit seeds behind `seed_spread`."""

    batch_sizes: tuple[int, int] | None
    """Of the first and of the repetition; None where the records do not say."""

    is_other_worker: bool | None
    """Whether another process computed the repetition; None where the records do not say."""


def noise_floors(
    run: RunFolder, source: Source, records: Mapping[str, CellRecord]
) -> Iterator[NoiseFloor]:
    """Every metric of every pair of which both cells finished, in the order of the plan."""
    finished = {cell_id for cell_id, record in records.items() if record.is_done}
    places = {cell.cell_id: (cell.model, cell.task) for cell in source.plan.cells}
    for again, first in source.plan.repeats.items():
        if not {again, first} <= finished or first not in places:
            continue
        model, name = places[first]
        scores, task = source.scores[model, name], source.plan.tasks[name]
        cell = next(cell for cell in scores.cells if cell.cell_id == first)
        repeated = vectors(run.read_cell(again)[0], scores.item_ids)
        pair = (records[first], records[again])
        for metric in source.metrics(model, task):
            if metric.name in repeated and metric.name in scores.cells[cell]:
                yield _floor(source, scores, task, metric, cell, repeated[metric.name], pair)


def _floor(
    source: Source,
    scores: TaskScores,
    task: Task,
    metric: Metric,
    cell: Cell,
    repeated: Scores,
    records: tuple[CellRecord, CellRecord],
) -> NoiseFloor:
    first = scores.cells[cell][metric.name]
    items = scores.is_test & ~np.isnan(first.values) & ~np.isnan(repeated.values)
    a, b = repeated.values[items], first.values[items]
    subtasks = scores.subtasks_of(metric.name)
    ours, theirs = (_side(each, cell, subtasks).take(items) for each in (repeated, first))
    pair = Pair(ours, theirs, items, (None,))
    reason = untestable(pair, metric)
    effect = None
    if reason is None:
        effect = compare(pair, metric, scores, source.plan.confidence).effect
    with np.errstate(invalid="ignore"):  # two infinite scores are equal
        apart = np.where(a == b, 0.0, np.abs(a - b))
    spread, n_seeds = _seed_spread(scores, metric, cell)
    return NoiseFloor(
        model=scores.model,
        task=task,
        metric=metric,
        cell=cell,
        n_items=int(items.sum()),
        n_differing=int(np.count_nonzero(apart)),
        largest=float(apart.max(initial=0.0)),
        effect=effect,
        untested=reason or "",
        seed_spread=spread,
        n_seeds=n_seeds,
        batch_sizes=_batch_sizes(*records),
        is_other_worker=_is_other_worker(*records),
    )


def _side(scores: Scores, cell: Cell, subtasks: Labels | None) -> Side:
    return Side(scores.values[:, None], scores.weights[:, None], (cell.fit_seed,), subtasks)


def _seed_spread(scores: TaskScores, metric: Metric, cell: Cell) -> tuple[float | None, int]:
    """(standard deviation between fit seeds, their number) of the arm at the cell's strength."""
    seed_cells = [c for c in scores.cells_of[cell.arm] if c.strength == cell.strength]
    setting = Setting(cell.arm, {c.fit_seed: c.strength for c in seed_cells})
    side = one_side(scores, setting, metric.name, metric.kind == RATIO)
    if side is None or len(side.seeds) < 2:
        return None, 1
    taken = side.take(side.measured & scores.tested(metric.name))
    if not len(taken.values) or not taken.finite:
        return None, len(side.seeds)
    means = taken.influence(metric.kind == RATIO).mean(axis=0)
    spread, size = float(means.std(ddof=1)), float(np.abs(means).max())
    return (spread if spread > _ROUNDING * size else 0.0), len(side.seeds)


def _batch_sizes(first: CellRecord, again: CellRecord) -> tuple[int, int] | None:
    one, other = first.batch_size, again.batch_size
    return None if one is None or other is None else (one, other)


def _is_other_worker(first: CellRecord, again: CellRecord) -> bool | None:
    one, other = ((record.environment.host, record.environment.pid) for record in (first, again))
    return None if None in (*one, *other) else one != other
