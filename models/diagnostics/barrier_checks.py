"""Checks of a barrier h along a path y_0 .. y_K.

    rises    share of steps with h(y_k+1) - h(y_k) > 0
    ascends  share of steps with grad h(y_k) . v_k > 0, v_k being where the step begins to lead
    reaches  whether h(y_k) >= 0 for some k: the density ratio favours the wanted class
    stays    whether it holds from the first such k to the end

On the barrier that a gradient flow climbs itself these hold by construction, but for the length of
the steps; a barrier fitted to other data judges it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def share_rising(values: Tensor) -> Tensor:
    """Share of the steps [n] with a rising h, for h along paths, `values` [K + 1, n]."""
    share: Tensor = (values[1:] > values[:-1]).double().mean(dim=0)
    return share


def share_ascending(gradients: Tensor, velocities: Tensor) -> Tensor:
    """Share of the steps [n] that begin along the gradient; both [K, n, d]."""
    along: Tensor = torch.linalg.vecdot(gradients, velocities)
    return (along > 0).double().mean(dim=0)


def starts_below(values: Tensor) -> Tensor:
    """Whether h < 0 at the start [n], for h along paths, `values` [K + 1, n]."""
    return values[0] < 0


def reaches(values: Tensor) -> Tensor:
    """Whether h >= 0 somewhere on the path [n], for h along paths, `values` [K + 1, n]."""
    return (values >= 0).any(dim=0)


def stays(values: Tensor) -> Tensor:
    """Whether h >= 0 from where it is first reached to the end [n]; True where it never is.

    `values` [K + 1, n]: h along paths.
    """
    inside = values >= 0
    since = inside.cummax(dim=0).values
    return (inside | ~since).all(dim=0)
