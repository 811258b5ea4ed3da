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
from steereval.models.fitting.logistic import fit_logistic
from steereval.models.flow.sketch import PolynomialSketch
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.mimic import GaussianTransport
from steereval.models.methods.odesteer import PolynomialFlow
from steereval.models.methods.rff_odesteer import FourierFlow

FIGURES = "official_smollm2_layer14_truthfulqa.npz"
FILE = Path(__file__).parents[3].parent / "shared" / "oracles" / FIGURES
SHIFT_FIGURES = ("vector", "T1", "T5")
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
    result = steerer(figures("x"), strength)
    assert float((result - wanted).norm()) <= 1e-5 * float((wanted - figures("x")).norm())


def shift_of(figures: Figures, method: str, **options: bool) -> ConstantShift:
    steerer = fit_steerer(method, figures("positive"), figures("negative"), **options)
    assert isinstance(steerer, ConstantShift)
    return steerer


@pytest.mark.parametrize("strength", [1, 5])
def test_repe(figures: Figures, strength: int) -> None:
    """Up to the sign, which is arbitrary there and set by the labels here."""
    steerer, x, vector = shift_of(figures, "repe", flip=False), figures("x"), figures("repe.vector")
    sign = torch.sign(steerer.vector @ vector)
    assert float((sign * steerer.vector - vector).norm()) <= 1e-4 * float(vector.norm())
    published = sign * (figures(f"repe.T{strength}") - x)
    assert largest(steerer(x, strength), x + published) < 1e-4


def test_repe_sign_is_set_by_the_labels(figures: Figures) -> None:
    shift = (figures("positive") - figures("negative")).mean(dim=0)
    for flip in (False, True):
        assert float(shift_of(figures, "repe", flip=flip).vector @ shift) > 0


@pytest.mark.parametrize("strength", [1, 5])
def test_iti(figures: Figures, strength: int) -> None:
    """The published fit is not converged: only the direction is compared."""
    steerer, x = shift_of(figures, "iti"), figures("x")
    assert float(steerer.vector.norm()) == pytest.approx(1, abs=1e-5)
    assert float(cosine_similarity(steerer.vector, figures("iti.vector"), dim=0)) > 0.98
    published = figures(f"iti.T{strength}") - x
    cosine = cosine_similarity(steerer(x, strength) - x, published, dim=1)
    assert float(cosine.min()) > 0.98


def test_linact(figures: Figures) -> None:
    steerer = fit_steerer("linact", figures("positive"), figures("negative"))
    assert largest(steerer(figures("x"), 1), figures("linact.T1")) < 1e-4


def transport_of(figures: Figures, prefix: str) -> GaussianTransport:
    steerer = fit_steerer("mimic", figures(f"{prefix}positive"), figures(f"{prefix}negative"))
    assert isinstance(steerer, GaussianTransport)
    return steerer


@pytest.mark.slow
def test_mimic_on_rank_deficient_float32(figures: Figures) -> None:
    """Without a NaN, and as the published code gives in float64, with the gate that it used."""
    assert figures("negative").dtype == torch.float32
    assert len(figures("negative")) < figures("negative").shape[1]
    steerer, x = transport_of(figures, ""), figures("x")
    left_alone = figures("mimic_float64.predicted_positive").bool()
    moved = torch.where(left_alone[:, None], x, x + steerer.displacement(x))
    assert largest(moved, figures("mimic_float64.T1")) < 1e-3
    assert float((steerer.looks_positive(x) == left_alone).float().mean()) > 0.95


def test_mimic_in_48_dimensions(figures: Figures) -> None:
    steerer, x = transport_of(figures, "mimic48."), figures("mimic48.x")
    left_alone = figures("mimic48.predicted_positive").bool()
    assert torch.equal(steerer.looks_positive(x), left_alone)
    assert largest(steerer(x, 1), figures("mimic48.steered")) < 1e-4


def test_random_fourier_features(figures: Figures) -> None:
    """With the published frequencies, phases and weights."""
    flow = FourierFlow(
        frequencies=figures("rff_odesteer.W"),
        phases=figures("rff_odesteer.b"),
        coef=figures("rff_odesteer.coef"),
        intercept=float(figures("rff_odesteer.intercept")[0]),
        log_class_ratio=0.0,
        solver="euler",
        steps=10,
        tolerance=1e-4,
        dimension=576,
    )
    assert largest(flow.log_odds(figures("x")), figures("rff_odesteer.log_odds")) < 1e-5
    assert largest(flow.field(figures("x")), figures("rff_odesteer.field")) < 1e-4
    for strength in (1, 5):
        wanted = figures(f"rff_odesteer.T{strength}")
        assert largest(flow(figures("x"), strength), wanted) < 1e-4


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


def test_every_figure_was_compared(figures: Figures) -> None:
    """So that a figure added to the file is not passed over."""
    with np.load(FILE) as stored:
        names = set(stored.files)
    hashes = {"index_hash", "sign_hash", "coef", "intercept", "log_odds", "field"}
    waves = {"W", "b", "coef", "intercept", "log_odds", "field", "T1", "T5"}
    compared = {"positive", "negative", "x", "linact.T1"}
    compared |= {f"{name}.{part}" for name in ("caa", "repe", "iti") for part in SHIFT_FIGURES}
    compared |= {"mimic_float64.T1", "mimic_float64.predicted_positive"}
    parts = ("positive", "negative", "x", "steered", "predicted_positive")
    compared |= {f"mimic48.{part}" for part in parts}
    compared |= {f"{name}.{part}" for name in ("odesteer", "odesteer_degree3") for part in hashes}
    compared |= {f"odesteer.{solver}.T{t}" for solver in SOLVERS for t in (1, 5, 20)}
    compared |= {f"step_odesteer.T{t}" for t in (1, 5, 20)}
    compared |= {"odesteer_degree3.T1", "odesteer_degree3.T5"}
    compared |= {f"rff_odesteer.{part}" for part in waves}
    assert names == compared


@pytest.mark.slow
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


@pytest.mark.slow
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
