"""Estimators, tests and intervals: pure functions of arrays.

Seeds and items are crossed: a fit moves all items together, so seeds never count as if they were
items. Every function refuses NaN; every random draw takes a seed.
"""

from __future__ import annotations

from steereval.results.stats.adjustment import adjust, partial_conjunction
from steereval.results.stats.auc import auc_effect, auc_influence
from steereval.results.stats.bootstrap import bca_interval
from steereval.results.stats.calibration import Calibration, calibration
from steereval.results.stats.clusters import cluster_sign_flip, least_p, sign_flip_p_values
from steereval.results.stats.crossed import CrossedEstimates, crossed_effect, crossed_estimates
from steereval.results.stats.effect import Effect
from steereval.results.stats.guard import Guard
from steereval.results.stats.macro import macro_effect
from steereval.results.stats.margins import NonInferiority, non_inferiority
from steereval.results.stats.max_t import crossed_correlation, max_t_crossed, max_t_sign_flip
from steereval.results.stats.power import (
    Variances,
    detectable_effects,
    least_items,
    least_seeds,
    minimum_detectable_effect,
    normal_items,
)
from steereval.results.stats.proportions import (
    clopper_pearson,
    mcnemar_midp,
    paired_proportion_ci,
    proportion_interval,
    wilson,
)
from steereval.results.stats.ranks import rank_intervals
from steereval.results.stats.ratios import log_ratio_influence, ratio_effect
from steereval.results.stats.seed_robust_interval import seed_robust_effect, with_seed_robust
from steereval.results.stats.tasks import (
    Friedman,
    friedman,
    interquartile_mean,
    probability_of_improvement,
)

__all__ = [
    "Calibration",
    "CrossedEstimates",
    "Effect",
    "Friedman",
    "Guard",
    "NonInferiority",
    "Variances",
    "adjust",
    "auc_effect",
    "auc_influence",
    "bca_interval",
    "calibration",
    "clopper_pearson",
    "cluster_sign_flip",
    "crossed_correlation",
    "crossed_effect",
    "crossed_estimates",
    "detectable_effects",
    "friedman",
    "interquartile_mean",
    "least_items",
    "least_p",
    "least_seeds",
    "log_ratio_influence",
    "macro_effect",
    "max_t_crossed",
    "max_t_sign_flip",
    "mcnemar_midp",
    "minimum_detectable_effect",
    "non_inferiority",
    "normal_items",
    "paired_proportion_ci",
    "partial_conjunction",
    "probability_of_improvement",
    "proportion_interval",
    "rank_intervals",
    "ratio_effect",
    "seed_robust_effect",
    "sign_flip_p_values",
    "wilson",
    "with_seed_robust",
]
