"""A GPU gives what a CPU gives, and what does not fit into its memory is halved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any
from unittest import mock

import pytest
import torch
from method_options import SMALL

from steereval.models.fitting import logistic
from steereval.models.inference.likelihood import Score, Scorer
from steereval.models.inference.memory import release
from steereval.models.inference.prefix_tree import Request
from steereval.models.inference.sampling import gumbel
from steereval.models.methods import hpr, re_control, truthflow
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.hook_points import Site
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.models.testing import MethodCase, contrast_data, points, steer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
NAMES = sorted(name for name, method in BUILT_IN.items() if name != "none" and method.fits)
TRAINED = ("hpr", "re_control", "truthflow")


@pytest.fixture(autouse=True)
def _all_memory_afterwards() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def fitting_on(device: torch.device) -> Iterator[None]:
    """Where everything is fitted."""
    with ExitStack() as stack:
        for module in (logistic, hpr, re_control, truthflow):
            stack.enter_context(mock.patch.object(module, "fit_device", return_value=device))
        yield


def case(method: str) -> MethodCase:
    return MethodCase(BUILT_IN[method], SMALL.get(method, {}))


@pytest.mark.parametrize("method", NAMES)
def test_steering_is_the_same(method: str) -> None:
    steerer, x = case(method).fit(), points(0, 6)
    there = steerer.to(GPU)
    for strength in (0.5, -2.0, 8.0):
        wanted = steer(steerer, x, strength)
        moved = steer(there, x.to(GPU), strength)
        assert moved.device == GPU
        slack = 1e-4 * float(wanted.abs().max())
        assert torch.allclose(moved.cpu(), wanted, atol=slack)


@pytest.mark.parametrize("method", NAMES)
def test_fits_are_the_same(method: str) -> None:
    """Trained networks drift apart by rounding, step by step."""
    with fitting_on(CPU):
        one = case(method).fit()
    with fitting_on(GPU):
        other = case(method).fit()
    x = points(0, 6)
    wanted, moved = steer(one, x, 2.0), steer(other, x, 2.0)
    assert moved.device == CPU
    slack = (1e-2 if method in TRAINED else 1e-4) * float(wanted.abs().max())
    assert torch.allclose(moved, wanted, atol=slack)


def test_noise_is_the_same_to_the_last_bit_or_two() -> None:
    names = ["0 1 2", "3 4 5"]
    assert torch.allclose(gumbel(names, 5000, GPU).cpu(), gumbel(names, 5000, CPU), atol=1e-5)


def interventions() -> list[Intervention]:
    fits = [
        BUILT_IN[name].fit(contrast_data(0, 32), BUILT_IN[name].options(options), 0)
        for name, options in (("caa", {}), ("odesteer", SMALL["odesteer"]))
    ]
    return [Intervention({Site(1): next(iter(fit.values()))}, 3.0) for fit in fits]


def some_requests(texts: int, choices: int, length: int, vocabulary: int) -> list[Request]:
    """Texts that begin alike, each with some continuations, under two interventions and none."""
    draw = torch.Generator().manual_seed(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, vocabulary, (count,), generator=draw).tolist())

    stem, result = tokens(12), []
    for _ in range(texts):
        context = stem + tokens(length)
        for _ in range(choices):
            answer = tokens(5)
            bounds = Positions("generated").interval(len(context), 0)
            result += [Request(context, answer, -1, 0, 0)]
            result += [Request(context, answer, arm, *bounds) for arm in range(2)]
    return result


def answers(model: Any, requests: Sequence[Request], path: str) -> list[Score]:
    with steered(model, interventions()) as session:
        scorer = Scorer(model, session)
        if path == "plain":
            return scorer.plain(requests, 64, lambda _: None)
        return scorer.shared(requests, lambda _: None)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gpt2", "mixtral"])
@pytest.mark.parametrize("path", ["plain", "shared"])
def test_likelihoods_are_the_same(tiny: Any, architecture: str, path: str) -> None:
    model = tiny(architecture)
    requests = some_requests(4, 3, 20, 200)
    wanted = answers(model, requests, path)
    result = answers(deepcopy(model).to(GPU), requests, path)
    for one, other in zip(result, wanted, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=2e-4)


@pytest.mark.parametrize("path", ["plain", "shared"])
def test_what_does_not_fit_is_halved(tiny: Any, path: str) -> None:
    """The scores of a batch alone are larger than the memory that the process is allowed."""
    model = deepcopy(tiny("llama", vocab_size=60_000)).to(GPU)
    requests = some_requests(30, 4, 60, 60_000)
    wanted = answers(model, requests, path)
    release()
    whole = torch.cuda.get_device_properties(0).total_memory
    allowed = torch.cuda.memory_allocated() + 200 * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / whole)
    result = answers(model, requests, path)
    for one, other in zip(result, wanted, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=2e-4)
