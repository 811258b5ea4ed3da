"""Parity with what the published implementation returned on real activations.

The figures lie beside the repository (`../shared/oracles`, whose README says how they were
made); nothing here holds a copy of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from steereval.models import fit_steerer, odesteer_from_sketch
from steereval.models.flow.logistic import fit_logistic
from steereval.models.flow.sketch import PolynomialSketch
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.odesteer import PolynomialFlow

FIGURES = "official_smollm2_layer14_truthfulqa.npz"
FILE = Path(__file__).parents[2].parent / "shared" / "oracles" / FIGURES
SOLVERS = {
    "euler10": ("euler", 10),
    "euler40": ("euler", 40),
    "midpoint10": ("midpoint", 10),
    "rk410": ("rk4", 10),
}
pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"there is no {FILE}")

Figures = Callable[[str], Tensor]


@pytest.fixture(scope="module")
def figures() -> Figures:
    """A stored array by name."""
    with np.load(FILE) as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    return arrays.__getitem__


def stored_flow(
    figures: Figures, name: str, degree: int, gamma: float, solver: str, steps: int
) -> PolynomialFlow:
    """The flow with the published hash functions and weights."""
    return odesteer_from_sketch(
        figures(f"{name}.index_hash"),
        figures(f"{name}.sign_hash"),
        figures(f"{name}.coef"),
        float(figures(f"{name}.intercept")[0]),
        degree=degree,
        gamma=gamma,
        solver=solver,
        steps=steps,
    )


def largest(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max())


@pytest.mark.parametrize("strength", [1, 5])
def test_caa(figures: Figures, strength: int) -> None:
    steerer = fit_steerer("caa", figures("positive"), figures("negative"))
    assert isinstance(steerer, ConstantShift)
    vector = figures("caa.vector")
    assert float((steerer.vector - vector).norm()) <= 1e-5 * float(vector.norm())
    wanted = figures(f"caa.T{strength}")
    found = steerer(figures("x"), strength)
    assert float((found - wanted).norm()) <= 1e-5 * float((wanted - figures("x")).norm())


def test_log_odds_and_field(figures: Figures) -> None:
    flow = stored_flow(figures, "odesteer", 2, 0.1, "euler", 10)
    assert largest(flow.log_odds(figures("x")), figures("odesteer.log_odds")) < 1e-5
    assert largest(flow.field(figures("x")), figures("odesteer.field")) < 1e-4


@pytest.mark.parametrize("strength", [1, 5, 20])
@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_endpoints(figures: Figures, name: str, strength: int) -> None:
    flow = stored_flow(figures, "odesteer", 2, 0.1, *SOLVERS[name])
    assert largest(flow(figures("x"), strength), figures(f"odesteer.{name}.T{strength}")) < 1e-4


@pytest.mark.parametrize("strength", [1, 5, 20])
def test_single_step(figures: Figures, strength: int) -> None:
    flow = stored_flow(figures, "odesteer", 2, 0.1, "euler", 1)
    assert largest(flow(figures("x"), strength), figures(f"step_odesteer.T{strength}")) < 1e-4


def test_degree_3(figures: Figures) -> None:
    """The sketch itself, since the quadratic form is of degree 2."""
    flow = stored_flow(figures, "odesteer_degree3", 3, 0.5, "euler", 10)
    assert flow.quadratic is None
    assert largest(flow.log_odds(figures("x")), figures("odesteer_degree3.log_odds")) < 1e-5
    assert largest(flow.field(figures("x")), figures("odesteer_degree3.field")) < 1e-4
    for strength in (1, 5):
        wanted = figures(f"odesteer_degree3.T{strength}")
        assert largest(flow(figures("x"), strength), wanted) < 1e-4


def test_every_figure_of_these_methods_was_compared(figures: Figures) -> None:
    """So that a figure added to the file is not passed over."""
    with np.load(FILE) as stored:
        kinds = ("caa.", "odesteer.", "odesteer_degree3.", "step_odesteer.")
        names = {name for name in stored.files if name.startswith(kinds)}
    inputs = {"index_hash", "sign_hash", "coef", "intercept"}
    compared = {f"caa.{part}" for part in ("vector", "T1", "T5")}
    for name in ("odesteer", "odesteer_degree3"):
        compared |= {f"{name}.{part}" for part in (*inputs, "log_odds", "field")}
    compared |= {f"odesteer.{solver}.T{t}" for solver in SOLVERS for t in (1, 5, 20)}
    compared |= {f"step_odesteer.T{t}" for t in (1, 5, 20)}
    compared |= {"odesteer_degree3.T1", "odesteer_degree3.T5"}
    assert names == compared


def test_own_fit_with_the_stored_hashes(figures: Figures) -> None:
    index, sign = figures("odesteer.index_hash").long(), figures("odesteer.sign_hash")
    sketch = PolynomialSketch(index, sign, 8000, 0.1, 1.0)
    weights, intercept = fit_logistic(
        sketch.features(figures("positive").double()),
        sketch.features(figures("negative").double()),
        1.0,
        1000,
    )
    flow = odesteer_from_sketch(index, sign, weights, intercept)
    x = figures("x")
    cosine = cosine_similarity(flow.field(x), figures("odesteer.field"), dim=1)
    assert float(cosine.mean()) > 0.999


def test_own_fit_with_own_hashes(figures: Figures) -> None:
    flow = fit_steerer("odesteer", figures("positive"), figures("negative"), seed=0)
    assert isinstance(flow, PolynomialFlow)
    cosine = cosine_similarity(flow.field(figures("x")), figures("odesteer.field"), dim=1)
    assert float(cosine.mean()) > 0.90


def test_degree_3_own_fit_with_the_stored_hashes(figures: Figures) -> None:
    index, sign = (
        figures("odesteer_degree3.index_hash").long(),
        figures("odesteer_degree3.sign_hash"),
    )
    sketch = PolynomialSketch(index, sign, 1024, 0.5, 1.0)
    weights, intercept = fit_logistic(
        sketch.features(figures("positive").double()),
        sketch.features(figures("negative").double()),
        1.0,
        1000,
    )
    flow = odesteer_from_sketch(index, sign, weights, intercept, degree=3, gamma=0.5)
    cosine = cosine_similarity(flow.field(figures("x")), figures("odesteer_degree3.field"), dim=1)
    assert float(cosine.mean()) > 0.999
