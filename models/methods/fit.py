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
    """Fit a method to activations of one site.

    As many rows of both classes count as pairs, row by row. Methods that need more (queries,
    whole answers, several heads) are fitted with
    `get_method(name).fit(ContrastData(...), options, seed)`.

    Args:
        method: Name of the method.
        positive: Activations [n+, d] of the positive class, float32 or float64.
        negative: Activations [n-, d] of the negative class.
        seed: Seed of all random choices.
        **options: Options of the method.

    Raises:
        UnknownNameError: There is no such method.
        InputError: An option is unknown, or the method needs more than activations of one site.
        FitError: Nothing can be fitted to the activations.
    """
    chosen = get_method(method)
    if chosen.reads == "heads":
        raise InputError(
            f"method {method} chooses among attention heads, and activations of one site have none",
            f"Use `get_method({method!r}).fit` with a ContrastData whose sites are heads, "
            "`Site(layer, head)`, or the method iti for a block.",
        )
    site = Site(0)
    data = two_classes(positive, negative, site)
    steerers = chosen.fit(data, chosen.options(options), seed)
    if site not in steerers:
        raise InputError(f"method {method} gives no steerer", "It leaves the model as it is.")
    return steerers[site]
