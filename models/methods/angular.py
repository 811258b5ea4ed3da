"""Angular steering: rotate within a plane, the norm kept.

Vu and Nguyen 2025, "Angular Steering" (arXiv 2510.26243). The plane is spanned by the first two
directions of the contrast: the difference of the means, and the main direction in which the
samples differ from the other class's mean once the first is taken away. T is in degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.caa import mean_difference
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class PlaneRotation(Steerer):
    """Turns the part of x within a plane by T degrees from `aside` towards `towards`."""

    method: ClassVar[str] = "plane_rotation"

    towards: Tensor
    """Unit vector [d]: the difference of the means."""
    aside: Tensor
    """Unit vector [d] orthogonal to it, on the side on which activations lie."""

    @property
    def keeps_norm(self) -> bool:
        """A rotation."""
        return True

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """The rest of x stays as it is, and so does its norm."""
        angle = math.radians(strength)
        towards, aside = self.towards.to(x.dtype), self.aside.to(x.dtype)
        a, b = (x @ towards)[..., None], (x @ aside)[..., None]
        # 1 - cos as 2 sin^2, so that a small angle loses no digits.
        less, sine = 2 * math.sin(angle / 2) ** 2, math.sin(angle)
        return x + (sine * b - less * a) * towards - (sine * a + less * b) * aside


class Angular(SiteMethod):
    """Rotation in the plane of the first two directions."""

    name = "angular"
    summary = "angular steering: rotate by T degrees in the plane of the contrast, norm kept"
    kinds = (PlaneRotation,)

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Two orthonormal directions."""
        first = mean_difference(data, self.name)
        first = first / first.norm()
        second = _second_direction(data, first)
        return PlaneRotation(
            first.float(),
            second.float(),
            dimension=len(first),
            median_norm=median_norm(data.positive, data.negative),
        )


def _second_direction(data: SiteData, first: Tensor) -> Tensor:
    positive, negative = data.positive.double(), data.negative.double()
    rows = torch.cat([positive - negative.mean(dim=0), positive.mean(dim=0) - negative])
    rest = rows - (rows @ first)[:, None] * first
    if float(rest.norm()) <= 1e-9 * float(rows.norm()):
        # One sample a class, say: the mean's own direction spans the plane with the first.
        rest = torch.cat([positive, negative])
        rest = rest - (rest @ first)[:, None] * first
    if float(rest.norm()) <= 1e-9 * float(torch.cat([positive, negative]).norm()):
        raise FitError(
            "the activations lie on a line, so angular has no plane to rotate in",
            "Give more samples.",
        )
    _, _, right = torch.linalg.svd(rest, full_matrices=False)
    second: Tensor = right[0] - (right[0] @ first) * first
    second = second / second.norm()
    centre = torch.cat([positive, negative]).mean(dim=0)
    return -second if bool(centre @ second < 0) else second
