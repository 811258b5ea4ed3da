"""Fit a steerer to two matrices of activations: the simple entry to every method."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from steereval.common.errors import InputError
from steereval.models.fitting.contrast_data import two_classes
from steereval.models.methods.registry import get_method
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer


def fit_steerer(
    method: str, positive: Tensor, negative: Tensor, seed: int = 0, **options: Any
) -> Steerer:
    """Fit `method` to positive [n+, d] and negative [n-, d] activations of one site.

    As many rows of both classes count as pairs, row by row. Methods that need more (queries,
    whole answers) are fitted with `get_method(name).fit(ContrastData(...), options, seed)`.
    Random choices come from `seed` alone. Raises UnknownNameError for the method, InputError
    for an option or a part that is missing, FitError for activations from which nothing can be
    fitted.
    """
    chosen = get_method(method)
    site = Site(0)
    data = two_classes(positive, negative, site)
    steerers = chosen.fit(data, chosen.options(options), seed)
    if site not in steerers:
        raise InputError(f"method {method} gives no steerer", "It leaves the model as it is.")
    return steerers[site]
