"""When the exact quadratic flow beats integrating the sketch: a small measured table.

The exact flow multiplies by the basis Q [d, d] twice for any number of steps; the sketch costs
two scatter-adds and five Fourier transforms of its length for every evaluation of the field. Both
grow with the tokens alike. So the sketch wins for few evaluations of a wide model.
"""

from __future__ import annotations

from torch import Tensor

_EVALUATIONS = {"euler": 1, "exponential": 1, "midpoint": 2, "rk4": 4, "adaptive": 7}
"""Evaluations of the field in a step."""

SKETCH_UP_TO: dict[str, tuple[tuple[int, int], ...]] = {
    "cpu": ((2048, 1), (4096, 4), (8192, 15)),
}
"""By device: (least width, most evaluations for which the sketch is faster). Measured by
`benchmarks/steering_overhead.py --flow` (docs/benchmarks.md); other devices take the exact flow
always."""


def prefers_exact(x: Tensor, steps: int, solver: str) -> bool:
    """Whether the exact flow of states x [..., d] is expected to be faster than the sketch's."""
    table = SKETCH_UP_TO.get(x.device.type, ())
    limits = [most for least, most in table if x.shape[-1] >= least]
    return steps * _EVALUATIONS[solver] > max(limits, default=0)
