"""The scores of one task from two runs as if of one, over the items that both have."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from steereval.results.analysis.pairing import Setting
from steereval.results.analysis.scores import Arm, Scores, TaskScores, complete_items
from steereval.results.stats.effect import Labels

_Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Joined:
    """Two runs on one model and task."""

    scores: TaskScores
    """Over the items that both have; test items are those that both tested."""
    n_only_first: int
    """Items that only the first run has."""
    n_only_second: int
    """Items that only the second run has."""
    n_split: int
    """Items that one run tested while the other chose strengths on them; they are not compared."""


def joined(first: TaskScores, second: TaskScores) -> Joined:
    """Both runs' cells on the items that both have; clusters are those of the first run."""
    common, here, there = np.intersect1d(
        np.array(first.item_ids, dtype=object).astype(str),
        np.array(second.item_ids, dtype=object).astype(str),
        return_indices=True,
    )
    cells = {
        replace(cell, arm=arm_of(cell.arm, side)): _taken(by_metric, places)
        for side, scores, places in ((0, first, here), (1, second, there))
        for cell, by_metric in scores.cells.items()
    }
    tests = first.is_test[here], second.is_test[there]
    scores = TaskScores(
        model=first.model,
        task=first.task,
        item_ids=tuple(str(item) for item in common),
        contents=first.contents[here],
        clusters=first.clusters[here],
        has_cluster=first.has_cluster[here],
        is_test=tests[0] & tests[1],
        folds=_folds(first.folds[here], second.folds[there]),
        directions=first.directions,
        cells=cells,
        complete=complete_items(cells),
        means_of_subtasks=first.means_of_subtasks,
    )
    n_common = len(common)
    return Joined(
        scores,
        len(first.item_ids) - n_common,
        len(second.item_ids) - n_common,
        int(np.count_nonzero(tests[0] ^ tests[1])),
    )


def arm_of(arm: Arm, side: int) -> Arm:
    """The arm of the first (0) or second (1) run in joined scores."""
    return replace(arm, method=f"{side} {arm.method}")


def setting_of(setting: Setting, side: int) -> Setting:
    """The setting of the first (0) or second (1) run in joined scores."""
    return replace(setting, arm=arm_of(setting.arm, side))


def _taken(by_metric: dict[str, Scores], places: _Places) -> dict[str, Scores]:
    return {
        metric: Scores(scores.values[places], scores.weights[places])
        for metric, scores in by_metric.items()
    }


def _folds(first: Labels, second: Labels) -> Labels:
    """Items share a fit only where they share the fold in both runs."""
    if np.array_equal(first, second):
        return first
    pairs = np.unique(np.column_stack([first, second]), axis=0, return_inverse=True)[1]
    return np.asarray(pairs, dtype=np.intp).ravel()
