"""Verdicts: a fixed vocabulary for what a comparison shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from steereval.results.analysis import wording
from steereval.results.stats import Effect, Variances, detectable_effects, non_inferiority
from steereval.results.stats.student import t_quantile
from steereval.results.store.manifest import RATIO, Metric, Task

BETTER = "better"
MEANINGFUL = "better and meaningful"
EQUIVALENT = "equivalent"
NON_INFERIOR = "non-inferior"
WORSE = "worse"
INCONCLUSIVE = "inconclusive"

VOCABULARY = (MEANINGFUL, BETTER, EQUIVALENT, NON_INFERIOR, INCONCLUSIVE, WORSE)
"""All verdicts, the most favourable first; "non-inferior" is for capabilities with a margin."""


IMPROVEMENTS = (MEANINGFUL, BETTER)
"""Verdicts that say that a method improves."""

CLAIMS = (*IMPROVEMENTS, WORSE)
"""Verdicts that say that there is a difference."""


@dataclass(frozen=True)
class Verdict:
    """The verdict of one comparison with the baseline."""

    word: str
    """One of VOCABULARY."""

    sentence: str
    """The difference with its interval; for "inconclusive" also what the design detects."""

    p_margin: float | None
    """One-sided p-value against "worse by the margin or more"; None without a margin to keep."""


def judge(effect: Effect, p_adjusted: float, metric: Metric, task: Task, alpha: float) -> Verdict:
    """The verdict on `effect`, a difference in the metric's own direction.

    A primary metric of a capability task with a margin is tested for non-inferiority at 5 %, all
    else by `p_adjusted` and the interval; the margin of a target task is its least effect of
    interest and the range of equivalence.
    """
    margin = margin_of(task, metric)
    facing = oriented(effect, metric)
    if margin is not None and not task.is_target:
        result = non_inferiority(facing, margin)
        return Verdict(result.verdict, _sentence(result.verdict, effect, metric), result.p_value)
    word = _word(facing, p_adjusted, margin, alpha)
    return Verdict(word, _sentence(word, effect, metric), None)


def margin_of(task: Task, metric: Metric) -> float | None:
    """The margin on the effect's scale: for a ratio log(1 + margin); primary metrics only."""
    if task.margin is None or task.margin <= 0 or metric.name != task.primary:
        return None
    return math.log1p(task.margin) if metric.kind == RATIO else task.margin


def oriented(effect: Effect, metric: Metric) -> Effect:
    """`effect` with its sign such that positive is an improvement."""
    if metric.higher_is_better:
        return effect
    return replace(
        effect,
        estimate=-effect.estimate,
        low=-effect.high,
        high=-effect.low,
        skewness=-effect.skewness,
    )


def detectable_effect(effect: Effect, metric: Metric) -> float:
    """The least effect that the design of `effect` detects, at 5 % with a power of 80 %.

    It exceeds the interval's half width by the estimate's own scatter, so that what is not
    significant is never more than what the design detects. Infinite where it is more than the
    metric can show, or where no outcome could be significant.
    """
    if effect.is_unbounded:
        return math.inf
    least = float(detectable_effects(Variances.of(effect), effect.n_items, effect.n_seeds))
    half = max(effect.estimate - effect.low, effect.high - effect.estimate)
    detectable = max(least, half + t_quantile(0.8, effect.df) * effect.se)
    return math.inf if metric.in_points and detectable > 1.0 else detectable


def _word(effect: Effect, p_adjusted: float, margin: float | None, alpha: float) -> str:
    if p_adjusted < alpha and effect.low > 0:
        return MEANINGFUL if margin is not None and effect.low > margin else BETTER
    if p_adjusted < alpha and effect.high < 0:
        return WORSE
    if margin is not None and non_inferiority(effect, margin).verdict == EQUIVALENT:
        return EQUIVALENT
    return INCONCLUSIVE


def _sentence(word: str, effect: Effect, metric: Metric) -> str:
    text = wording.difference(effect, metric)
    if word != INCONCLUSIVE:
        return text
    return f"{text}; {wording.detectable(detectable_effect(effect, metric), metric, effect.se)}"
