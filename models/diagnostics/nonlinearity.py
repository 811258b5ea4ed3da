"""How far a method is from adding one vector to all activations.

    cosine between points   mean over j != i of cos(v(x_i), v(x_j)): 1 for a constant direction
    with the mean difference  cos(v(x), mean(P) - mean(N)): 1 for caa
    stretch                 sum of |y_k+1 - y_k| over |y_K - y_0|: 1 for a straight path
    turning                 angle between y_1 - y_0 and y_K - y_K-1

Along a great circle cut into K equal steps that spans the angle a, the turning is a (K - 1)/K and
the stretch K sin(a/2K)/sin(a/2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


def field_cosine(directions: Tensor) -> Tensor:
    """Mean cosine [n] of each of n >= 2 unit vectors [n, d] with the others."""
    among: Tensor = directions @ directions.T
    return (among.sum(dim=1) - among.diagonal()) / (len(directions) - 1)


def mean_difference_cosine(directions: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Cosine [n] of unit vectors [n, d] with the difference of the class means [n+, d], [n-, d]."""
    difference = positive.double().mean(dim=0) - negative.double().mean(dim=0)
    return cosine_similarity(directions.double(), difference[None], dim=1)


def path_stretch(points: Tensor) -> Tensor:
    """Length over distance of the ends [n] of paths [K + 1, n, d]; 1 at least."""
    length = (points[1:] - points[:-1]).norm(dim=-1).sum(dim=0)
    stretch: Tensor = length / (points[-1] - points[0]).norm(dim=-1)
    return stretch


def turning(points: Tensor) -> Tensor:
    """Angle [n] between the first and the last step of paths [K + 1, n, d], in degrees.

    By half-angles, atan2(|a - b|, |a + b|) of the unit steps, which is exact for small angles.
    """
    first, last = (
        step / step.norm(dim=-1, keepdim=True)
        for step in (points[1] - points[0], points[-1] - points[-2])
    )
    half = torch.atan2((first - last).norm(dim=-1), (first + last).norm(dim=-1))
    return torch.rad2deg(2 * half)
