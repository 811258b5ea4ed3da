"""The score by which a method separates the classes, at any state of a text.

Its barrier h(x), where it has one; else the projection x . u on the direction u of its mean
displacement. A method that was fitted at one position of the text and steers at another works there
only if this still separates the classes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from steereval.models.diagnostics.acting import Acting, own_barrier


def score_of(acting: Acting, x: Tensor, strength: float) -> Callable[[Tensor], Tensor] | None:
    """A function of states [m, d] that gives scores [m], larger for the wanted class.

    The mean displacement is that of x [n, d]. None if there is none: nothing is moved.
    """
    barrier = own_barrier(acting.steerer)
    if barrier is not None:
        return barrier.barrier
    mean = (acting(x, strength) - x).mean(dim=0)
    length = mean.norm()
    if not bool(length > 0):
        return None
    return lambda states: states @ (mean / length)
