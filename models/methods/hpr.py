"""Householder pseudo-rotation: turn activations across a probe's boundary, the norm kept.

Pham and Nguyen 2024, "Householder Pseudo-Rotation" (arXiv 2409.10053): an unbiased probe
sigma(w . x) and a network that says by which angle to turn. Where the probe says positive x is
kept; elsewhere x is turned towards its mirror image x' = x - 2 w (w . x)/|w|^2. T scales the angle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steereval.models.fitting.contrast_data import SiteData
from steereval.models.fitting.logistic import fit_device
from steereval.models.fitting.network import Weights, apply_mlp, frozen, linear_layers
from steereval.models.fitting.training import TrainingOptions, drawing_from, split_rows, train
from steereval.models.flow.sketch import safe_norm
from steereval.models.methods.caa import mean_difference
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class HprOptions(TrainingOptions):
    """Training of probe and angle network, as published."""

    epochs: int = 5
    """Most passes over the training part."""
    learning_rate: float = 5e-4
    """Peak rate of Adam, after a warm-up over 5 % of the steps."""
    batch_size: int = 16
    """Pairs in a step."""


@dataclass(frozen=True)
class PseudoRotation(Steerer):
    """Turns x by T theta(x) towards its mirror image where the probe says negative."""

    method: ClassVar[str] = "pseudo_rotation"

    probe: Tensor
    """Unit normal [d] of the probe's boundary."""
    network: Weights
    """The angle network."""
    scale: float
    """Activations are divided by this before the network."""
    training: dict[str, Any]
    """Curves of the training."""

    @property
    def keeps_norm(self) -> bool:
        """A rotation."""
        return True

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """[sin(theta) x' + sin(gamma - theta) x]/sin(gamma), written without the division.

        Within the plane of x and w, turning from x towards its mirror image is turning towards w.
        """
        probe, norm = self.probe.to(x.dtype), safe_norm(x)
        unit = x / norm
        height = (unit @ probe)[..., None]
        across = probe - height * unit
        across = across / safe_norm(across)
        angle = strength * self.angle(x)[..., None]
        turned = norm * (torch.cos(angle) * unit + torch.sin(angle) * across)
        return torch.where(height > 0, x, turned)

    def angle(self, x: Tensor) -> Tensor:
        """theta(x) [...] in (0, pi)."""
        return math.pi * torch.sigmoid(apply_mlp(self.network, x / self.scale, F.gelu)[..., 0])


class _Trained(nn.Module):
    """Probe and angle network under training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.probe = nn.Linear(width, 1, bias=False)
        self.angle = linear_layers(
            [width, *(max(1, width // share) for share in (2, 4, 8)), 1]
        )  # fmt: skip


class Hpr(SiteMethod):
    """Probe and angle network trained together on pairs."""

    name = "hpr"
    summary = "Householder pseudo-rotation: turn negatives across a probe's boundary, norm kept"
    seeded = True
    budget = ("epochs",)
    kinds = (PseudoRotation,)
    Options = HprOptions

    def needs(self, options: Any) -> frozenset[str]:
        """The positive to which each negative is turned."""
        return frozenset({"pairs"})

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Minimise the probe's cross-entropy plus the squared error of the angle."""
        assert data.pairs is not None
        mean_difference(data, self.name)  # which it refuses if there is none
        device, norm = fit_device(), median_norm(data.positive, data.negative)
        scale = (norm or 1.0) / len(data.positive[0]) ** 0.5
        rows, others = data.pairs.unbind(dim=1)
        positive = (data.positive[rows] / scale).to(device)
        negative = (data.negative[others] / scale).to(device)
        goals = _angles(positive, negative)
        with drawing_from(seed) as generator:
            network = _Trained(positive.shape[1]).to(device)

            def loss(chosen: Tensor) -> Tensor:
                return _loss(network, positive[chosen], negative[chosen], goals[chosen])

            parts = split_rows(len(positive), options.held_out, generator)
            curves = train(self.name, network, parts, loss, options, generator, warmup=0.05)
        probe = network.probe.weight.detach()[0].cpu()
        return PseudoRotation(
            probe=probe / safe_norm(probe),
            network=frozen(network.angle),
            scale=scale,
            training=curves,
            dimension=len(probe),
            median_norm=norm,
        )


def _angles(positive: Tensor, negative: Tensor) -> Tensor:
    """Angle [m] between each negative and its positive."""
    cosine = F.cosine_similarity(positive.double(), negative.double(), dim=1)
    return torch.acos(cosine.clamp(-1, 1)).float()


def _loss(network: _Trained, positive: Tensor, negative: Tensor, goals: Tensor) -> Tensor:
    scores = torch.cat([network.probe(positive), -network.probe(negative)])
    hidden: Tensor = negative
    for index, layer in enumerate(network.angle):
        hidden = layer(F.gelu(hidden) if index else hidden)
    angles = math.pi * torch.sigmoid(hidden[:, 0])
    return F.softplus(-scores).mean() + F.mse_loss(angles, goals)
