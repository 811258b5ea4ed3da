"""Ratios of sums, such as the perplexity: log ratios with a linearised standard error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.crossed import RESAMPLES, crossed_effect
from steereval.results.stats.effect import Effect, Floats
from steereval.results.stats.guard import Guard


def ratio_effect(
    nll_a: npt.ArrayLike,
    nll_b: npt.ArrayLike,
    tokens_a: npt.ArrayLike,
    tokens_b: npt.ArrayLike | None = None,
    *,
    clusters: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int | Sequence[int] = 0,
    guard: Guard | None = None,
) -> Effect:
    """Δ = Σ nll_a/Σ tokens_a - Σ nll_b/Σ tokens_b: the log of a ratio of perplexities.

    All arrays [items] or [items, seeds], negative log-likelihoods in nats and token counts.
    Without `tokens_b` both sides score the same texts, and r_i = nll_a,i - nll_b,i - Δ t_i,
    SE = √(n/(n-1) Σ r²)/Σ t. With different texts the residuals are
    (nll_a - R_a t_a)/mean(t_a) - (nll_b - R_b t_b)/mean(t_b). Both are the crossed estimator of the
    influence values Δ_s + r_is/mean(t_s): each seed is linearised by itself, and the seeds stay
    crossed with the items. The effect is on the log scale; report exp of it and of its ends.
    `guard`: as in `crossed_effect`; a logarithm of a ratio has a scale without ends.
    """
    a, t_a = _sums("nll_a", nll_a), _tokens("tokens_a", tokens_a)
    b = _sums("nll_b", nll_b)
    t_b = t_a if tokens_b is None else _tokens("tokens_b", tokens_b)
    if len({array.shape for array in (a, b, t_a, t_b)}) > 1:
        shapes = ", ".join(str(array.shape) for array in (a, b, t_a, t_b))
        raise InputError(f"the shapes differ: {shapes}", "Give four arrays of one shape.")
    values = log_ratio_influence(a, t_a) - log_ratio_influence(b, t_b)
    return crossed_effect(
        values, clusters, folds, confidence, resamples=resamples, seed=seed, guard=guard
    )


def log_ratio_influence(nll: Floats, tokens: Floats) -> Floats:
    """[items, seeds]: R_s + (nll - R_s t)/mean(t), whose mean over items is R_s = Σ nll/Σ t."""
    rate = nll.sum(axis=0) / tokens.sum(axis=0)
    influence: Floats = rate + (nll - rate * tokens) / tokens.mean(axis=0)
    return influence


def _sums(name: str, values: npt.ArrayLike) -> Floats:
    return checks.items_by_seeds(name, values)


def _tokens(name: str, values: npt.ArrayLike) -> Floats:
    tokens = checks.items_by_seeds(name, values)
    if bool(np.any(tokens < 0)) or bool(np.any(tokens.sum(axis=0) <= 0)):
        raise InputError(
            f"{name} has negative counts, or a seed without any token",
            "Give the number of tokens of each item.",
        )
    return tokens
