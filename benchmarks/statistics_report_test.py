"""The test of a report, for arrays: what the simulations of this folder measure.

`reported` is the code that a report runs, `compare_grouped` and `headline` of `results.analysis`:
the crossed t with its guard, McNemar's mid-p for one run of binary scores, and with several seeds
the seed-robust p-value and interval. `Checked` runs it on one experiment in ten and takes the
p-values of all of them from the same functions for stacks of experiments; it counts the experiments
where both differ, or where the interval leaves out 0 and p is not below 5 % or the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from steereval.results.analysis.comparison import Grouping, compare_grouped, guard_of
from steereval.results.analysis.headline import headline
from steereval.results.analysis.pairing import Pair, Side
from steereval.results.stats import (
    CrossedEstimates,
    Effect,
    Guard,
    crossed_estimates,
    log_ratio_influence,
    macro_effect,
    mcnemar_midp,
)
from steereval.results.stats.clusters import least_p
from steereval.results.stats.effect import ONE_SEED
from steereval.results.store.manifest import BINARY, BOUNDED, RATIO, Metric

LEVEL = 0.05
EVERY = 10
"""One experiment in so many is put through `reported`."""

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

ACCURACY = Metric("acc", BINARY, True)
SCORE = Metric("mc2", BOUNDED, True)
FREE = Metric("score", "continuous", True)
PERPLEXITY = Metric("word_perplexity", RATIO, False)


def reported(
    values: Floats, metric: Metric, clusters: Labels | None = None, folds: Labels | None = None
) -> Effect:
    """The effect that a report shows for differences.

    Args:
        values: Differences [items, seeds]; for a ratio [3, items, seeds]: negative log-likelihoods
            of both sides, and tokens.
        metric: The kind of score.
        clusters: [items], codes.
        folds: [items], codes.

    Returns:
        Estimate, p-value and interval of the headline.
    """
    a, b, weights = _sides(values, metric)
    n, seeds = a.shape
    names = tuple(range(seeds))
    pair = Pair(Side(a, weights, names), Side(b, weights, names), np.ones(n, np.bool_), names)
    grouping = Grouping(
        clusters=clusters,
        folds=folds,
        n_clusters=n if clusters is None else int(clusters.max()) + 1,
        n_unclustered=0,
        n_folds=1 if folds is None else int(folds.max()) + 1,
    )
    return headline(compare_grouped(pair, metric, grouping, 0.95), metric).effect


@dataclass
class Checked:
    """p-values of many experiments of one design, with `reported` for one in ten of them."""

    metric: Metric
    clusters: Labels | None = None
    folds: Labels | None = None
    p_values: list[Floats] = field(default_factory=list)
    """Of the report's test, a batch each."""
    crossed: list[Floats] = field(default_factory=list)
    """Of the crossed t with its guard."""
    effects: list[Effect] = field(default_factory=list)
    """Effects that `reported` gives, one a batch."""
    disagreements: int = 0

    def add(self, batch: Floats) -> CrossedEstimates:
        """Test a batch of experiments, each as `reported` takes it."""
        diffs = differences(batch, self.metric)
        guard = guard_of(self.metric)
        estimates = crossed_estimates(diffs, self.clusters, self.folds, guard=guard)
        p_values = estimates.p_robust if diffs.shape[2] > 1 else self._of_one_seed(diffs, estimates)
        for number in range(0, len(batch), EVERY):
            effect = reported(batch[number], self.metric, self.clusters, self.folds)
            self.effects.append(effect)
            is_claim = effect.low > 0.0 or effect.high < 0.0
            agree = abs(effect.p_value - p_values[number]) < 1e-6
            self.disagreements += not (agree and is_claim == (effect.p_value < LEVEL))
        self.p_values.append(p_values)
        self.crossed.append(estimates.p_value)
        return estimates

    def _of_one_seed(self, diffs: Floats, estimates: CrossedEstimates) -> Floats:
        groups = diffs.shape[1] if self.clusters is None else int(self.clusters.max()) + 1
        p_values = np.maximum(estimates.p_value, least_p(groups))
        if self.metric.kind != BINARY or self.clusters is not None:
            return p_values
        counts = zip(np.sum(diffs > 0, axis=(1, 2)), np.sum(diffs < 0, axis=(1, 2)), strict=True)
        return np.maximum(p_values, [mcnemar_midp(int(b), int(c)) for b, c in counts])

    @property
    def size(self) -> float:
        """How often the report's test claims something at 5 %."""
        return float(np.mean(np.concatenate(self.p_values) < LEVEL))

    @property
    def coverage(self) -> float:
        """How often its 95 % interval holds 0, which is where it claims nothing."""
        return 1.0 - self.size

    @property
    def crossed_size(self) -> float:
        """How often the crossed t claims something."""
        return float(np.mean(np.concatenate(self.crossed) < LEVEL))


class MacroTested:
    """`Checked` for macro-means, all of which are put through the test of a report."""

    disagreements = 0

    def __init__(self) -> None:
        self._p_values: list[float] = []
        self._crossed: list[float] = []

    def add(self, batch: Floats) -> CrossedEstimates:
        """Test a batch [experiments, tasks, items, seeds]; the estimates of the first task."""
        guards = [Guard()] * batch.shape[1]
        effects = [macro_effect(list(tasks), guards=guards) for tasks in batch]
        self._p_values += [effect.p_robust for effect in effects]
        self._crossed += [effect.p_value for effect in effects]
        return crossed_estimates(batch[:, 0])

    @property
    def size(self) -> float:
        """How often the report's test claims something at 5 %."""
        return float(np.mean(np.array(self._p_values) < LEVEL))

    @property
    def coverage(self) -> float:
        """How often its interval holds 0."""
        return 1.0 - self.size

    @property
    def crossed_size(self) -> float:
        """How often the crossed t claims something."""
        return float(np.mean(np.array(self._crossed) < LEVEL))


def components(estimates: CrossedEstimates) -> Floats:
    """[3, experiments]: the variances between items, between seeds, and of what is left."""
    return np.array([estimates.var_item, estimates.var_seed, estimates.var_residual])


def differences(batch: Floats, metric: Metric) -> Floats:
    """[experiments, items, seeds], whose means are the estimates."""
    if metric.kind != RATIO:
        return batch
    return np.stack(
        [
            log_ratio_influence(method, tokens) - log_ratio_influence(base, tokens)
            for method, base, tokens in batch
        ]
    )


def _sides(values: Floats, metric: Metric) -> tuple[Floats, Floats, Floats]:
    """Scores of both sides, and their weights."""
    if metric.kind == RATIO:
        return values[0], values[1], values[2]
    if metric.kind == BINARY:
        return np.maximum(values, 0.0), np.maximum(-values, 0.0), np.ones_like(values)
    return values, np.zeros_like(values), np.ones_like(values)


def cautions_of(effect: Effect) -> list[str]:
    """The rules that a report applies to one comparison, but for the label of one seed."""
    return [caution for caution in effect.cautions if caution != ONE_SEED]
