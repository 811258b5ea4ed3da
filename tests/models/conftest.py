"""Toy steerers with effects that are easy to predict, and data to fit real ones to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class Shift(Steerer):
    """Adds T times one number to every entry."""

    method: ClassVar[str] = "toy_shift"
    amount: float = 1.0

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        return x + strength * self.amount


@dataclass(frozen=True)
class Broken(Steerer):
    """Makes activations that are not finite."""

    method: ClassVar[str] = "toy_broken"

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        return x * torch.inf


@dataclass(frozen=True)
class Raising(Steerer):
    """Fails while it steers."""

    method: ClassVar[str] = "toy_raising"

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        raise RuntimeError("the steerer failed")


@dataclass(frozen=True)
class Gate(Steerer):
    """Adds T v to the tokens of queries whose prompt scores above a threshold, T v / 2 else.

    `decided` collects the score of every query by its key, over all calls.
    """

    method: ClassVar[str] = "toy_gate"
    per_query: ClassVar[bool] = True
    vector: Tensor
    probe: Tensor
    threshold: float
    decided: dict[str, list[float]]

    def begin(self, prompt_states: Tensor, row_keys: Sequence[str]) -> Tensor:
        scores = prompt_states @ self.probe
        for key, score in zip(row_keys, scores.tolist(), strict=True):
            self.decided.setdefault(key, []).append(score)
        return torch.where(scores > self.threshold, 1.0, 0.5)[:, None]

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        assert state is not None
        assert state.shape == (*x.shape[:-1], 1)
        return x + strength * state * self.vector


@pytest.fixture(scope="session")
def toys() -> SimpleNamespace:
    """The toy steerers' classes."""
    return SimpleNamespace(Shift=Shift, Broken=Broken, Raising=Raising, Gate=Gate)


@pytest.fixture(scope="session")
def gate() -> Callable[..., Gate]:
    """A gate of a given width that about half of random queries open."""

    def make(width: int, seed: int = 0, threshold: float = 0.0) -> Gate:
        draw = torch.Generator().manual_seed(seed)
        vector, probe = torch.randn(2, width, generator=draw)
        return Gate(vector, probe, threshold, {}, dimension=width)

    return make


@pytest.fixture(scope="session")
def gaussians() -> Callable[..., tuple[Tensor, Tensor]]:
    """Positive and negative samples [n, width] of two overlapping gaussians off the origin."""

    def make(width: int, positive: int = 40, negative: int = 30, seed: int = 0) -> Any:
        draw = torch.Generator().manual_seed(1000 + seed)
        centre = 2 * torch.randn(width, generator=draw)
        shift = torch.randn(width, generator=draw)
        first = torch.randn(positive, width, generator=draw) + centre + shift / 2
        second = torch.randn(negative, width, generator=draw) + centre - shift / 2
        return first, second

    return make


@pytest.fixture(scope="session")
def lora(tiny: Callable[[str], Any]) -> Callable[[str], Any]:
    """A tiny model wrapped by PEFT, with LoRA weights that matter."""

    def wrap(architecture: str, target: str) -> Any:
        from copy import deepcopy

        config = LoraConfig(r=2, target_modules=[target], task_type="CAUSAL_LM")
        model = get_peft_model(deepcopy(tiny(architecture)), config)
        draw = torch.Generator().manual_seed(5)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.3, generator=draw)
        return model.eval().requires_grad_(False)

    return wrap


def hooks_of(model: torch.nn.Module) -> int:
    """Forward hooks, pre-hooks and forwards put in their place anywhere in `model`."""
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in vars(m))
        for m in model.modules()
    )


@pytest.fixture(scope="session")
def count_hooks() -> Callable[[torch.nn.Module], int]:
    """Counts the hooks left in a model."""
    return hooks_of
