"""RE-Control: ascend a value network on the states of generated tokens.

Kong et al. 2024, "Aligning Large Language Models with Representation Editing: A Control
Perspective" (arXiv 2406.05954): V is trained by temporal differences along each answer's states,
(V_t - V_t+1)^2, and (V_last - reward)^2 at its last token; steering takes n plain gradient steps on
V. The reward is a part: the label of an answer, or any scorer of texts (`reward`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steereval.common.errors import FitError
from steereval.common.limits import Positive
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.fitting.logistic import fit_device
from steereval.models.fitting.network import (
    Weights,
    apply_mlp,
    frozen,
    linear_layers,
    relu_gradient,
)
from steereval.models.fitting.training import TrainingOptions, drawing_from, split_rows, train
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class ReControlOptions(TrainingOptions):
    """Training of the value network, and the steps along its gradient."""

    epochs: Positive[int] = 100
    """Most passes over the training part."""
    learning_rate: Positive[float] = 1e-4
    """Rate of Adam."""
    batch_size: Positive[int] = 32
    """Answers in a step."""
    hidden: Positive[int] = 4096
    """Width of the two hidden layers."""
    steps: Positive[int] = 30
    """Gradient steps for each token."""
    rate: Positive[float] = 1.0
    """Length of a step in units of the gradient; the strength multiplies it."""
    reward: str = "label"
    """Reward of answers: `label`, or a scorer of texts (`steereval tasks`)."""


@dataclass(frozen=True)
class ValueAscent(Steerer):
    """x += T rate grad V(x), `steps` times."""

    method: ClassVar[str] = "value_ascent"

    network: Weights
    """The value network."""
    steps: int
    """Gradient steps."""
    rate: float
    """Length of a step in units of the gradient."""
    training: dict[str, Any]
    """Curves of the training."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """Plain gradient ascent."""
        total = torch.zeros_like(x)
        for _ in range(self.steps):
            total = total + strength * self.rate * relu_gradient(self.network, x + total)
        return x + total

    def value(self, x: Tensor) -> Tensor:
        """V(x) [...], an estimate of the reward."""
        return apply_mlp(self.network, x, F.relu)[..., 0]


class ReControl(SiteMethod):
    """A value network by temporal differences."""

    name = "re_control"
    summary = "RE-Control: gradient steps on a value network of the answer's reward"
    seeded = True
    budget = ("epochs", "hidden", "steps")
    kinds = (ValueAscent,)
    Options = ReControlOptions

    def needs(self, options: Any) -> frozenset[str]:
        """The states of every token of every answer, and the answer's reward."""
        return frozenset({"trajectories", "rewards"})

    def reward(self, options: Any) -> str:
        """As the option says."""
        return str(options.reward)

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Train on whole answers."""
        assert data.trajectories is not None
        assert data.rewards is not None
        _refuse_equal(data.rewards)
        device, width = fit_device(), data.positive.shape[1]
        steps = _Trajectories.of(list(data.trajectories), data.rewards, device)
        with drawing_from(seed) as generator:
            layers = linear_layers([width, options.hidden, options.hidden, 1]).to(device)
            parts = split_rows(len(data.rewards), options.held_out, generator)
            curves = train(
                self.name, layers, parts, lambda rows: steps.loss(layers, rows), options, generator
            )
        return ValueAscent(
            network=frozen(layers),
            steps=options.steps,
            rate=options.rate,
            training=curves,
            dimension=width,
            median_norm=median_norm(data.positive, data.negative),
        )


def _refuse_equal(rewards: Tensor) -> None:
    if len(torch.unique(rewards)) < 2:
        raise FitError(
            f"all {len(rewards)} rewards are {float(rewards[0]):g}, so re_control learns nothing",
            "Choose a reward that distinguishes the answers.",
        )


@dataclass(frozen=True)
class _Trajectories:
    """All answers one after another."""

    states: Tensor
    starts: Tensor
    lengths: Tensor
    rewards: Tensor

    @classmethod
    def of(cls, answers: list[Tensor], rewards: Tensor, device: torch.device) -> _Trajectories:
        lengths = torch.tensor([len(answer) for answer in answers], device=device)
        starts = lengths.cumsum(0) - lengths
        states = torch.cat(answers).float().to(device)
        return cls(states, starts, lengths, rewards.float().to(device))

    def loss(self, layers: nn.ModuleList, rows: Tensor) -> Tensor:
        """Mean over answers of the squared differences along each, the last one to its reward."""
        rows = rows.to(self.starts.device)
        lengths = self.lengths[rows]
        answer = torch.arange(len(rows), device=rows.device).repeat_interleave(lengths)
        ends = lengths.cumsum(0) - 1
        within = torch.arange(int(lengths.sum()), device=rows.device) - (ends + 1 - lengths)[answer]
        hidden = self.states[self.starts[rows][answer] + within]
        for index, layer in enumerate(layers):
            hidden = layer(F.relu(hidden) if index else hidden)
        values = hidden[:, 0]
        # The last valid token of an answer meets the reward; every other one its successor.
        goals = torch.cat([values[1:], values.new_zeros(1)])
        goals = goals.index_put((ends,), self.rewards[rows])
        return ((values - goals) ** 2).sum() / len(rows)
