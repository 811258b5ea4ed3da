"""Each arm over all target tasks of its model: the macro-mean and robust summaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from steereval.results.analysis.comparison import Comparison, guard_of, seed_of
from steereval.results.analysis.duplicates import document_of, linked
from steereval.results.analysis.inputs import Source
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.pairing import Setting, pair
from steereval.results.analysis.scores import Seed
from steereval.results.stats import (
    Effect,
    Friedman,
    adjust,
    bca_interval,
    friedman,
    interquartile_mean,
    macro_effect,
    probability_of_improvement,
)
from steereval.results.stats.effect import Floats, Labels
from steereval.results.stats.tasks import ENOUGH_TASKS
from steereval.results.store.manifest import RATIO


@dataclass(frozen=True)
class ArmAcross:
    """One arm over the target tasks of a model, in points, positive for an improvement."""

    name: str
    """The arm."""

    effect: Effect
    """The macro-mean of its differences to the baseline, by the seed-robust test."""

    p_adjusted: float
    """Of `effect`, by Holm over the arms of the model."""

    interquartile_mean: float
    """Of the differences of tasks × seeds."""

    probability: float
    """Of an improvement: the share of tasks × seeds above the baseline."""

    mean_rank: float | None
    """Over the tasks, 1 the best; None where some table has no ranks."""

    rank_interval: tuple[float, float] | None
    """Means over the tasks of the ends of its rank intervals."""

    over_tasks: tuple[float, float] | None
    """Interval of the macro-mean over other tasks of the kind (BCa over tasks); None below ten."""


@dataclass(frozen=True)
class Across:
    """All arms of one model over its target tasks."""

    model: str
    """The model's label."""

    tasks: tuple[str, ...]
    """The target tasks whose scores are in points."""

    arms: tuple[ArmAcross, ...]
    """Those with a comparison on every task, in the order of the grid."""

    left_out: tuple[str, ...]
    """Arms that lack a comparison, or a common fit seed, or have one item or cluster somewhere."""

    friedman: Friedman | None
    """Over `ranked`; None below ten tasks."""

    ranked: tuple[str, ...]
    """The arms, the baseline included, that have a finite score on every task."""


@dataclass(frozen=True)
class _Summary:
    row_name: str
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    signs: tuple[int, ...]
    seeds: tuple[Seed, ...]

    def clusters(self, source: Source) -> list[Labels]:
        """[tasks][items], the same code for one cluster: tasks that score the same documents share
        their clusters."""
        owners: list[str] = []
        documents: list[str] = []
        for row, comparison in zip(self.rows, self.comparisons, strict=True):
            owners += [f"{row.task.name} {label}" for label in comparison.labels]
            documents += [document_of(item) for item in _items_of(row, source)]
        sizes = [len(comparison.values) for comparison in self.comparisons]
        return np.split(linked(owners, documents), np.cumsum(sizes)[:-1])

    def diffs(self) -> list[Floats]:
        """[tasks][items, seeds], the common seeds in one order."""
        return [
            sign * comparison.values[:, [comparison.seeds.index(seed) for seed in self.seeds]]
            for sign, comparison in zip(self.signs, self.comparisons, strict=True)
        ]


def across_tasks(rows: Sequence[Row], source: Source) -> list[Across]:
    """For every model with two target tasks or more whose primary scores are in points."""
    summaries = (_of_model(rows, model, source) for model in source.models)
    return [across for across in summaries if across is not None]


def _of_model(rows: Sequence[Row], model: str, source: Source) -> Across | None:
    tables: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.model == model and row.task.is_target and row.is_primary and row.metric.in_points:
            tables.setdefault(row.task.name, {})[row.name] = row
    if len(tables) < 2:
        return None
    names = dict.fromkeys(
        row.name for table in tables.values() for row in table.values() if not row.is_baseline
    )
    summaries = {name: _summary(name, tables) for name in names}
    whole = [summary for summary in summaries.values() if summary is not None]
    arms = _arms(whole, tables, source)
    left_out = tuple(name for name, summary in summaries.items() if summary is None)
    ranked, ranks = _ranked(tables)
    return Across(model, tuple(tables), tuple(arms), left_out, _friedman(ranked, ranks), ranked)


def _summary(name: str, tables: dict[str, dict[str, Row]]) -> _Summary | None:
    task_rows = [table.get(name) for table in tables.values()]
    rows = [row for row in task_rows if row is not None and row.comparison is not None]
    comparisons = tuple(row.comparison for row in rows if row.comparison is not None)
    if len(rows) < len(tables) or min(c.effect.n_clusters for c in comparisons) < 2:
        return None
    shared = set.intersection(*(set(comparison.seeds) for comparison in comparisons))
    seeds = tuple(seed for seed in comparisons[0].seeds if seed in shared)
    if not seeds:
        return None
    signs = tuple(1 if row.metric.higher_is_better else -1 for row in rows)
    return _Summary(name, tuple(rows), comparisons, signs, seeds)


def _items_of(row: Row, source: Source) -> list[str]:
    """The items that the comparison of `row` is over, in the order of its values."""
    scores = source.scores[row.model, row.task.name]
    baseline, ratio = source.baseline(row.model, row.task.name), row.metric.kind == RATIO
    settings = Setting(row.arm, row.strengths), baseline
    items = scores.tested(row.metric.name)
    paired = pair(scores, *settings, row.metric.name, ratio, items)
    return [] if paired is None else list(np.array(scores.item_ids, dtype=object)[paired.items])


def _arms(
    summaries: Sequence[_Summary], tables: dict[str, dict[str, Row]], source: Source
) -> Iterator[ArmAcross]:
    confidence = source.plan.confidence
    effects = [
        macro_effect(
            summary.diffs(),
            summary.clusters(source),
            [comparison.grouping.folds for comparison in summary.comparisons],
            confidence,
            guards=[guard_of(row.metric) for row in summary.rows],
            shared_clusters=True,
            seed_robust=True,
        )
        for summary in summaries
    ]
    adjusted = adjust([effect.p_value for effect in effects], "holm")
    for summary, effect, p in zip(summaries, effects, adjusted, strict=True):
        per_fit = np.array([diff.mean(axis=0) for diff in summary.diffs()])
        rank, interval = _ranks(summary.row_name, tables)
        yield ArmAcross(
            name=summary.row_name,
            effect=effect,
            p_adjusted=float(p),
            interquartile_mean=interquartile_mean(per_fit),
            probability=probability_of_improvement(per_fit, np.zeros((len(per_fit), 1))),
            mean_rank=rank,
            rank_interval=interval,
            over_tasks=_over_tasks(per_fit, confidence, summary.row_name),
        )


def _over_tasks(per_fit: Floats, confidence: float, name: str) -> tuple[float, float] | None:
    if len(per_fit) < ENOUGH_TASKS:
        return None
    return bca_interval(per_fit.mean(axis=1), confidence, seed=seed_of(f"tasks|{name}"))


def _ranks(
    name: str, tables: dict[str, dict[str, Row]]
) -> tuple[float | None, tuple[float, float] | None]:
    ranks = [_ranks_of_table(table).get(name) for table in tables.values()]
    intervals = [table[name].rank for table in tables.values()]
    known = [rank for rank in ranks if rank is not None]
    ends = [interval for interval in intervals if interval is not None]
    if len(known) < len(tables) or len(ends) < len(tables):
        return None, None
    best, worst = np.mean(ends, axis=0)
    return float(np.mean(known)), (float(best), float(worst))


def _ranks_of_table(table: dict[str, Row]) -> dict[str, float]:
    """{arm: rank by its score, 1 the best} of the arms with a finite score."""
    scores = {
        row.name: row.score.mean if row.metric.higher_is_better else -row.score.mean
        for row in table.values()
        if row.score is not None and np.isfinite(row.score.mean)
    }
    ranks = scipy_stats.rankdata([-score for score in scores.values()])
    return dict(zip(scores, map(float, ranks), strict=True))


def _ranked(tables: dict[str, dict[str, Row]]) -> tuple[tuple[str, ...], list[dict[str, float]]]:
    """The arms with a finite score on every task, and the ranks of each task."""
    ranks = [_ranks_of_table(table) for table in tables.values()]
    return tuple(name for name in ranks[0] if all(name in rank for rank in ranks)), ranks


def _friedman(names: Sequence[str], ranks: Sequence[dict[str, float]]) -> Friedman | None:
    if len(ranks) < ENOUGH_TASKS or len(names) < 2:
        return None
    return friedman([[-rank[name] for name in names] for rank in ranks])
