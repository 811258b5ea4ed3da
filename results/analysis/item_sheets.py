"""Items side by side: what every arm scores on each test item, and whose answers show why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.inputs import Source
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.pairing import Setting, one_side
from steereval.results.analysis.scores import Cell, TaskScores
from steereval.results.stats.effect import Floats
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.manifest import RATIO, Metric, Task


@dataclass(frozen=True)
class ArmOnItems:
    """One arm on the test items of a sheet."""

    row: Row
    """Its row of the leaderboard."""

    scores: Floats
    """[items]: means over fit seeds and draws (for a ratio an item's perplexity); NaN where one is
    missing."""

    shown: Cell | None
    """The cell whose answers are shown: its first fit seed and draw."""

    n_responses: int
    """How many the record of `shown` counts; 0 without one."""


@dataclass(frozen=True)
class ItemSheet:
    """The test items of one model and task under every arm, by the primary metric."""

    model: str
    """The model's label."""

    task: Task
    """The task."""

    metric: Metric
    """Its primary metric."""

    item_ids: tuple[str, ...]
    """The test items."""

    arms: tuple[ArmOnItems, ...]
    """The baseline first."""

    def n_differing(self, arm: int) -> int:
        """Items on which that arm's score is not the baseline's."""
        ours, theirs = self.arms[arm].scores, self.arms[0].scores
        known = ~np.isnan(ours) & ~np.isnan(theirs)
        return int(np.count_nonzero(ours[known] != theirs[known]))


def item_sheets(
    rows: Sequence[Row], source: Source, records: Mapping[str, CellRecord]
) -> Iterator[ItemSheet]:
    """A sheet for every model and task that has a baseline and another arm with test items."""
    tables: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.is_primary and row.score is not None:
            tables.setdefault((row.model, row.task.name), []).append(row)
    for (model, name), table in tables.items():
        if len(table) < 2 or not table[0].is_baseline:
            continue
        scores = source.scores[model, name]
        items = np.flatnonzero(scores.is_test)
        yield ItemSheet(
            model=model,
            task=table[0].task,
            metric=table[0].metric,
            item_ids=tuple(scores.item_ids[i] for i in items),
            arms=tuple(_arm(row, scores, records) for row in table),
        )


def _arm(row: Row, scores: TaskScores, records: Mapping[str, CellRecord]) -> ArmOnItems:
    ratio = row.metric.kind == RATIO
    side = one_side(scores, Setting(row.arm, row.strengths), row.metric.name, ratio)
    assert side is not None  # the row has a score
    values = side.values[scores.is_test]
    if ratio:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            values = np.exp(values / side.weights[scores.is_test])
    shown = _shown(row, scores)
    counts = records[shown.cell_id].counts if shown is not None else None
    return ArmOnItems(row, values.mean(axis=1), shown, counts.responses if counts else 0)


def _shown(row: Row, scores: TaskScores) -> Cell | None:
    """The first fit seed's first draw at its strength."""
    arm_cells = [
        cell
        for cell in scores.cells_of.get(row.arm, [])
        if row.strengths.get(cell.fit_seed) == cell.strength
    ]
    order = {seed: place for place, seed in enumerate(row.strengths)}
    return min(
        arm_cells, key=lambda c: (order[c.fit_seed], c.sample_seed, c.fewshot_seed), default=None
    )
