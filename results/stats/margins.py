"""Claims of no harm: non-inferiority and equivalence against a margin declared beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.effect import Effect
from steereval.results.stats.skewness import half_widths, one_sided_p


@dataclass(frozen=True)
class NonInferiority:
    """The verdict on an effect and a margin; positive effects are improvements."""

    verdict: str
    """"equivalent", "non-inferior", "worse" or "inconclusive"."""

    p_value: float
    """One-sided p-value against "worse by the margin or more"."""

    p_equivalent: float
    """Larger of the two one-sided p-values (TOST)."""

    lower: float
    """One-sided lower bound of the effect, of confidence 1 - alpha."""

    upper: float
    """One-sided upper bound of the effect, of confidence 1 - alpha."""

    margin: float
    """The margin, in the unit of the effect."""

    @property
    def non_inferior(self) -> bool:
        """Whether the lower bound exceeds -margin."""
        return self.lower > -self.margin


def non_inferiority(effect: Effect, margin: float, alpha: float = 0.05) -> NonInferiority:
    """Is `effect` (positive is better) not worse than -`margin`, by a one-sided t test?

    "equivalent": both one-sided tests reject (TOST); "non-inferior": the lower one does; "worse":
    neither, and the two-sided interval lies below 0; else "inconclusive". With a standard error of
    0 the p-values are those of a sign test over the clusters.
    """
    checks.fraction("alpha", alpha)
    if not (math.isfinite(margin) and margin > 0):
        raise InputError(f"the margin is {margin}", "Declare a positive margin beforehand.")
    lower, upper = _bounds(effect, alpha)
    p_low = _one_sided(effect.estimate + margin, effect, effect.skewness)
    p_high = _one_sided(margin - effect.estimate, effect, -effect.skewness)
    if p_low < alpha:
        verdict = "equivalent" if p_high < alpha else "non-inferior"
    else:
        verdict = "worse" if effect.high < 0 and effect.p_value < alpha else "inconclusive"
    return NonInferiority(
        verdict=verdict,
        p_value=p_low,
        p_equivalent=max(p_low, p_high),
        lower=lower,
        upper=upper,
        margin=margin,
    )


def _bounds(effect: Effect, alpha: float) -> tuple[float, float]:
    """One-sided bounds of confidence 1 - `alpha`."""
    if effect.is_unbounded:
        return -math.inf, math.inf
    if effect.se == 0.0:
        return effect.estimate, effect.estimate
    below, above = half_widths(1.0 - 2.0 * alpha, effect.skewness, effect.df)
    return effect.estimate - effect.se * float(below), effect.estimate + effect.se * float(above)


def _one_sided(distance: float, effect: Effect, skewness: float) -> float:
    """p-value against "distance <= 0"."""
    if effect.is_unbounded:
        return 1.0
    if effect.se > 0:
        return float(one_sided_p(distance / effect.se, skewness, effect.df))
    return 2.0**-effect.n_clusters if distance > 0 else 1.0
