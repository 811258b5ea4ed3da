"""The item rows of a run as vectors: one value per item for every cell and metric."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from steereval.common.errors import StoreError
from steereval.results.analysis.duplicates import REQUEST_COLUMNS, contents_of, linked, twins
from steereval.results.stats.effect import Floats, Labels
from steereval.results.store.cell_record import CELL_COLUMNS
from steereval.results.store.manifest import means_of_subtasks
from steereval.results.store.run_folder import RunFolder

Mask = npt.NDArray[np.bool_]

Seed = int | None
"""A fit seed; None where nothing was fitted (an unsteered model)."""

NO_FOLD = -1


@dataclass(frozen=True, order=True)
class Arm:
    """A subject of comparison: a method at its layers."""

    method: str
    """The method's label in the grid."""

    layer: str
    """"14", "10+12", "all", or "" for an unsteered model."""

    @property
    def label(self) -> str:
        """The arm in words."""
        return f"{self.method} ({self.layer_words})" if self.layer else self.method

    @property
    def layer_words(self) -> str:
        """ "layer 14", "layers 10+12", "all layers", or "" for an unsteered model."""
        if self.layer == "all":
            return "all layers"
        return f"layer{'s' if '+' in self.layer else ''} {self.layer}" if self.layer else ""


@dataclass(frozen=True)
class Cell:
    """A finished cell within its model and task."""

    cell_id: str
    arm: Arm
    strength: float
    fit_seed: Seed
    sample_seed: int
    fewshot_seed: int


@dataclass(frozen=True)
class Scores:
    """One metric of one cell over the items of its task."""

    values: Floats
    """[items], NaN where the cell has no row for the item."""

    weights: Floats
    """[items], tokens for a ratio metric, else 1; NaN like `values`."""


@dataclass(frozen=True)
class TaskScores:
    """All scores of one model on one task; items are ordered by id."""

    model: str
    task: str
    item_ids: tuple[str, ...]

    contents: Labels
    """[items], codes; items of the same content have the same code."""

    clusters: Labels
    """[items], codes: items of one content, and clusters that share a content, are one cluster. An
    item by itself without a known cluster has a code of its own."""

    has_cluster: Mask
    """[items], whether the item is in a known cluster, or has the content of another one."""

    is_test: Mask
    """[items], test items; the others are validation items."""

    folds: Labels
    """[items], NO_FOLD where no cell tells one."""

    directions: dict[str, bool]
    """For each metric found whether higher is better, as the rows say."""

    cells: dict[Cell, dict[str, Scores]]
    """{cell: {metric: scores}}."""

    complete: dict[str, Mask]
    """{metric: [items], whether every cell that has the metric has a value}."""

    means_of_subtasks: frozenset[str] = frozenset()
    """Metrics that are the mean of a group's subtasks, however many items each has."""

    def subtasks_of(self, metric: str) -> Labels | None:
        """[items], codes of the subtasks if `metric` is a mean over them; else None."""
        if metric.partition(":")[0] not in self.means_of_subtasks:
            return None
        return self._subtasks

    @functools.cached_property
    def _subtasks(self) -> Labels:
        """[items], codes of the subtasks of a group; the same code for all items of a task."""
        names = [item.rpartition(":")[0] for item in self.item_ids]
        return np.unique(names, return_inverse=True)[1].astype(np.intp)

    def concerned(self, metric: str) -> Mask:
        """[items]: those of subtasks that have the metric in some cell; of a task all."""
        has = np.zeros(len(self.item_ids), dtype=np.bool_)
        for by_metric in self.cells.values():
            if metric in by_metric:
                has |= ~np.isnan(by_metric[metric].values)
        if not has.any():
            return ~has
        return np.asarray(np.bincount(self._subtasks, has) > 0)[self._subtasks]

    @functools.cached_property
    def cells_of(self) -> dict[Arm, list[Cell]]:
        """The finished cells of each arm, ordered by fit seed, None first."""
        cells: dict[Arm, list[Cell]] = {}
        for cell in sorted(self.cells, key=lambda c: (c.fit_seed is not None, c.fit_seed or 0)):
            cells.setdefault(cell.arm, []).append(cell)
        return cells

    def tested(self, metric: str) -> Mask:
        """[items]: the test items that count: an item that one arm lacks is dropped from all."""
        return self.is_test & self.complete.get(metric, np.ones_like(self.is_test))

    def lacking(self, metric: str) -> dict[str, int]:
        """{arm in words: how many test items some cell of it lacks}, of those that lack any."""
        gaps: dict[str, Mask] = {}
        concerned = self.is_test & self.concerned(metric)
        for cell, by_metric in self.cells.items():
            if metric in by_metric:
                gap = concerned & np.isnan(by_metric[metric].values)
                gaps[cell.arm.label] = gaps.get(cell.arm.label, np.zeros_like(gap)) | gap
        return {arm: int(gap.sum()) for arm, gap in sorted(gaps.items()) if gap.any()}

    @property
    def n_repeated(self) -> int:
        """Number of items that repeat the content of another."""
        return len(self.contents) - len(np.unique(self.contents))

    @property
    def n_leaked(self) -> int:
        """Number of test items that repeat the content of a validation item."""
        seen = np.isin(self.contents, self.contents[~self.is_test])
        return int(np.count_nonzero(seen & self.is_test))

    @property
    def arms(self) -> list[Arm]:
        """The arms with at least one finished cell."""
        return sorted({cell.arm for cell in self.cells})


@dataclass(frozen=True)
class _Rows:
    """A cell's rows of one table, with its identity."""

    model: str
    task: str
    cell: Cell
    table: pa.Table


def load_scores(
    run: RunFolder, left_out: Collection[str] = ()
) -> dict[tuple[str, str], TaskScores]:
    """{(model, task): scores} of the finished cells, without those with the ids `left_out`.

    Contradictions between cells are a StoreError.
    """
    groups: dict[tuple[str, str], list[_Rows]] = {}
    for rows in _identified(run.iter_items()):
        if rows.cell.cell_id in left_out:
            continue
        groups.setdefault((rows.model, rows.task), []).append(rows)
    means = means_of_subtasks(run.read_manifest())
    return {
        key: _task_scores(group, run, means.get(key[1], frozenset()))
        for key, group in sorted(groups.items())
    }


def _identified(tables: Iterable[pa.Table]) -> Iterator[_Rows]:
    for table in tables:
        first = {name: table[name][0].as_py() for name in CELL_COLUMNS}
        mixed = [name for name in CELL_COLUMNS if pc.count_distinct(table[name], "all").as_py() > 1]
        if mixed:
            raise StoreError(f"cell {first['cell_id']} has several values of {', '.join(mixed)}")
        arm = Arm(first["method"], first["layer"])
        seeds = (first["fit_seed"], first["sample_seed"], first["fewshot_seed"])
        cell = Cell(first["cell_id"], arm, first["strength"], *seeds)
        yield _Rows(first["model"], first["task"], cell, table)


def _task_scores(group: list[_Rows], run: RunFolder, means: frozenset[str]) -> TaskScores:
    _check_distinct(group)
    ids = [rows.table["item_id"].to_numpy(zero_copy_only=False) for rows in group]
    index = pd.Index(np.unique(np.concatenate(ids).astype(str)), dtype=object)
    places = [index.get_indexer(pd.Index(item_ids, dtype=object)) for item_ids in ids]
    cluster_ids = _agreed(group, places, "cluster_id", len(index))
    splits = _agreed(group, places, "split", len(index))
    folds = _agreed(group, places, "fold", len(index))
    contents = twins(list(index), _contents(group, run))
    linked_items = linked([str(code) for code in contents], list(cluster_ids))
    names = np.array([f"={c}" if c is not None else f"item {i}" for i, c in enumerate(cluster_ids)])
    names = names[np.unique(linked_items, return_index=True)[1]][linked_items]
    cells = {
        rows.cell: _at(rows.table, place, len(index))
        for rows, place in zip(group, places, strict=True)
    }
    return TaskScores(
        model=group[0].model,
        task=group[0].task,
        item_ids=tuple(index),
        contents=contents,
        clusters=np.unique(names, return_inverse=True)[1].astype(np.intp),
        has_cluster=np.array([c is not None for c in cluster_ids])
        | (np.bincount(contents)[contents] > 1),
        is_test=np.array([s == "test" for s in splits]),
        folds=np.array([NO_FOLD if f is None else f for f in folds], np.intp),
        directions=_directions(group),
        cells=cells,
        complete=complete_items(cells),
        means_of_subtasks=means,
    )


def _contents(group: list[_Rows], run: RunFolder) -> dict[str, str]:
    """{item: digest of what it asks}, by the first cell that kept requests: all ask the same."""
    for rows in group:
        contents = contents_of(run.read_requests(rows.cell.cell_id, REQUEST_COLUMNS))
        if contents:
            return contents
    return {}


def complete_items(cells: dict[Cell, dict[str, Scores]]) -> dict[str, Mask]:
    """{metric: [items], whether every cell that has the metric has a value}."""
    complete: dict[str, Mask] = {}
    for by_metric in cells.values():
        for metric, scores in by_metric.items():
            has = ~np.isnan(scores.values)
            complete[metric] = complete[metric] & has if metric in complete else has
    return complete


def _check_distinct(group: list[_Rows]) -> None:
    seen: dict[tuple[object, ...], str] = {}
    for rows in group:
        cell = rows.cell
        key = (cell.arm, cell.strength, cell.fit_seed, cell.sample_seed, cell.fewshot_seed)
        if key in seen:
            raise StoreError(
                f"the cells {seen[key]} and {cell.cell_id} are the same setting of {rows.task}",
                "Delete the files of one of them.",
            )
        seen[key] = cell.cell_id


def _agreed(
    group: list[_Rows], places: list[npt.NDArray[np.intp]], column: str, n_items: int
) -> npt.NDArray[np.object_]:
    """[items], what the cells say in `column`; null gives way, two different values are refused."""
    agreed = np.full(n_items, None, dtype=object)
    for rows, place in zip(group, places, strict=True):
        said = rows.table[column].to_numpy(zero_copy_only=False)
        # null integers come as NaN floats
        has_value = np.array(pc.is_valid(rows.table[column]).to_numpy())
        here, values = place[has_value], said[has_value].astype(object)
        known = np.array([old is not None for old in agreed[here]], dtype=np.bool_)
        conflict = known & (agreed[here] != values)
        if np.any(conflict):
            item = rows.table["item_id"].to_numpy(zero_copy_only=False)[has_value][conflict][0]
            raise StoreError(
                f"cell {rows.cell.cell_id} says another {column} of item {item} of {rows.task} "
                "than the cells before it",
                "These cells were not made from one plan; start the run again in a new folder.",
            )
        agreed[here] = values
    return agreed


def _directions(group: list[_Rows]) -> dict[str, bool]:
    directions: dict[str, bool] = {}
    for rows in group:
        pairs = rows.table.select(["metric", "higher_is_better"]).group_by(
            ["metric", "higher_is_better"]
        )
        for pair in pairs.aggregate([]).to_pylist():
            if (
                directions.setdefault(pair["metric"], pair["higher_is_better"])
                != pair["higher_is_better"]
            ):
                raise StoreError(
                    f"the cells of {rows.task} disagree on {pair['metric']}'s direction"
                )
    return directions


def vectors(table: pa.Table, item_ids: Sequence[str]) -> dict[str, Scores]:
    """{metric: scores over `item_ids`} of the rows of one cell; other items are left out."""
    index = pd.Index(np.array(item_ids, dtype=object))
    place = index.get_indexer(pd.Index(table["item_id"].to_numpy(zero_copy_only=False)))
    return _at(table.filter(pa.array(place >= 0)), place[place >= 0], len(index))


def _at(table: pa.Table, place: npt.NDArray[np.intp], n_items: int) -> dict[str, Scores]:
    metrics = table["metric"].to_numpy(zero_copy_only=False)
    values, weights = table["value"].to_numpy(), table["weight"].to_numpy()
    scores_of = {}
    for metric in dict.fromkeys(metrics):
        rows = metrics == metric
        scores = Scores(np.full(n_items, np.nan), np.full(n_items, np.nan))
        scores.values[place[rows]] = values[rows]
        scores.weights[place[rows]] = weights[rows]
        scores_of[str(metric)] = scores
    return scores_of
