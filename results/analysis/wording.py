"""Numbers in words: points, factors and plain units, never mixed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steereval.results.stats import Effect
from steereval.results.store.manifest import RATIO, Metric


def scale_of(metric: Metric) -> float:
    """Factor of a difference for display: 100 where it is shown in points."""
    return 100.0 if metric.in_points else 1.0


def number(value: float, decimals: int, sign: bool = False) -> str:
    """`value` with so many decimals, "inf" and "-inf" as ∞ and -∞."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return ("+" if sign and value > 0 else "-" if value < 0 else "") + "∞"
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    is_zero = float(text) == 0.0
    return text.replace("-", "+" if sign else "") if is_zero else text


def decimals_for(se: float, metric: Metric) -> int:
    """Decimals that a displayed standard error deserves, from one to six.

    One digit of it in points, which are read side by side; two where units are free.
    """
    if not math.isfinite(se) or se <= 0.0:
        return 1
    digits = 1 if metric.in_points else 2
    return min(6, max(1, math.ceil(digits - 1 - math.log10(se))))


def difference(effect: Effect, metric: Metric) -> str:
    """The difference with its interval: "+2.1 points [-0.9, +5.1]"; ratios as factors."""
    if metric.kind == RATIO:
        factors = [factor(x) for x in (effect.estimate, effect.low, effect.high)]
        return f"× {factors[0]} [{factors[1]}, {factors[2]}]"
    scale = scale_of(metric)
    decimals = decimals_for(scale * effect.se, metric)
    ends = [number(scale * x, decimals, True) for x in (effect.estimate, effect.low, effect.high)]
    unit = " points" if metric.in_points else ""
    return f"{ends[0]}{unit} [{ends[1]}, {ends[2]}]"


def score(value: float, metric: Metric) -> str:
    """A score by itself: one decimal in points and of perplexities, three of free units."""
    return number(scale_of(metric) * value, 1 if metric.in_points or metric.kind == RATIO else 3)


def factor(log_ratio: float) -> str:
    """exp of a log ratio, e.g. "1.083"."""
    if log_ratio > math.log(1e6):
        return "∞" if math.isinf(log_ratio) else f"{math.exp(min(log_ratio, 700)):.1e}"
    return f"{math.exp(log_ratio):.3f}"


def detectable(mde: float, metric: Metric, se: float) -> str:
    """The detectable effect in words: "this design detects 4.3 or more"."""
    if math.isinf(mde):
        return "this design detects no effect of any size"
    if metric.kind == RATIO:
        return f"this design detects a factor of {factor(mde)} or more"
    scale = scale_of(metric)
    return f"this design detects {number(scale * mde, decimals_for(scale * se, metric))} or more"


def p_value(p: float) -> str:
    """A p-value to three decimals, or "<0.001"."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def joined(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def strength(value: float) -> str:
    """A strength without needless decimals."""
    return f"{value:g}"
