"""When the exact quadratic flow beats integrating the sketch: a small measured table.

The exact flow reads the basis Q [d, d] twice whatever the number of steps; the sketch costs two
scatter-adds and five Fourier transforms of its length for every evaluation of the field and row.
So the sketch can win for one token of a wide model and few evaluations.
"""

from __future__ import annotations

from torch import Tensor

_EVALUATIONS = {"euler": 1, "exponential": 1, "midpoint": 2, "rk4": 4, "adaptive": 7}
"""Evaluations of the field in a step."""

SKETCH_UP_TO: dict[str, tuple[tuple[int, int], ...]] = {
    "cpu": ((4096, 1), (8192, 4)),
}
"""By device: (least width, most rows x evaluations for which the sketch is faster). Measured by
`benchmarks/steering_overhead.py --flow`; other devices take the exact flow always."""


def prefers_exact(x: Tensor, steps: int, solver: str) -> bool:
    """Whether the exact flow of states x [..., d] is expected to be faster than the sketch's."""
    width = x.shape[-1]
    evaluations = x.numel() // width * steps * _EVALUATIONS[solver]
    limits = [
        most for least, most in SKETCH_UP_TO.get(x.device.type, ()) if width >= least
    ]  # fmt: skip
    return evaluations > max(limits, default=0)
