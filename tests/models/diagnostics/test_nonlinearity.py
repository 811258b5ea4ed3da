"""Directions and shapes of paths: great circles exactly, constant shifts, the published figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steereval.models import fit_steerer, odesteer_from_sketch
from steereval.models.diagnostics.acting import Acting
from steereval.models.diagnostics.integrator import one_step_distance
from steereval.models.diagnostics.nonlinearity import (
    field_cosine,
    mean_difference_cosine,
    path_stretch,
    turning,
)
from steereval.models.diagnostics.paths import directions, path
from steereval.models.methods.linear_sphere import LinearSphereFlow
from steereval.models.methods.odesteer import PolynomialFlow
from steereval.models.methods.registry import BUILT_IN
from steereval.models.testing import SITE, MethodCase, contrast_data, points

FIGURES = "official_smollm2_layer14_truthfulqa.npz"
FILE = Path(__file__).parents[3].parent / "shared" / "oracles" / FIGURES


def circle(solver: str, steps: int) -> LinearSphereFlow:
    """A flow along great circles towards the first axis."""
    return LinearSphereFlow(
        weights=torch.eye(3)[0], intercept=0.0, log_class_ratio=0.0, solver=solver, steps=steps,
        tolerance=1e-6, dimension=3,
    )  # fmt: skip


@given(st.integers(2, 30), st.floats(0.05, 2.5), st.floats(1, 200))
def test_a_great_circle(steps: int, angle: float, radius: float) -> None:
    x = torch.tensor([[-0.9, 0.3, math.sqrt(0.1)]], dtype=torch.float64) * radius
    along = path(Acting(circle("exponential", steps)), x, angle * radius)
    turned = math.degrees(angle * (steps - 1) / steps)
    stretched = steps * math.sin(angle / (2 * steps)) / math.sin(angle / 2)
    assert float(turning(along)) == pytest.approx(turned, rel=1e-6)
    assert float(path_stretch(along)) == pytest.approx(stretched, rel=1e-6)


def test_a_constant_shift_neither_turns_nor_stretches() -> None:
    shift = MethodCase(BUILT_IN["caa"]).fit()
    x, data = points(0, 6).double(), contrast_data()
    along = path(Acting(shift), x, 3.0)
    result = directions(Acting(shift), x, 3.0)
    assert path_stretch(along).tolist() == pytest.approx([1] * 6)
    assert turning(along).tolist() == pytest.approx([0] * 6, abs=1e-5)
    assert field_cosine(result).tolist() == pytest.approx([1] * 6)
    to_means = mean_difference_cosine(result, data.positive[SITE], data.negative[SITE])
    assert to_means.tolist() == pytest.approx([1] * 6)


def test_directions_that_differ() -> None:
    """Three at right angles, one against the first."""
    unit = torch.eye(3).double()
    values = field_cosine(torch.cat([unit, -unit[:1]]))
    assert values.tolist() == pytest.approx([-1 / 3, 0, 0, -1 / 3])
    means = torch.tensor([[0.0, 5.0, 0.0]])
    assert mean_difference_cosine(unit, means, torch.zeros(1, 3)).tolist() == [0, 1, 0]


def figures() -> dict[str, torch.Tensor]:
    """What the published implementation returned."""
    with np.load(FILE) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.mark.skipif(not FILE.exists(), reason=f"there is no {FILE}")
def test_the_published_field_hardly_bends() -> None:
    """Mean pairwise cosine 0.984, least 0.889; ten steps end 0.07 and 1.07 from one."""
    stored = figures()
    parts = [stored[f"odesteer.{name}"] for name in ("index_hash", "sign_hash", "coef")]
    flow = odesteer_from_sketch(*parts, float(stored["odesteer.intercept"][0]))
    x = stored["x"].double()
    field = directions(Acting(flow), x, 5.0)
    assert float(field_cosine(field).mean()) == pytest.approx(0.984, abs=5e-4)
    assert float((field @ field.T).min()) == pytest.approx(0.889, abs=5e-4)
    assert float(one_step_distance(flow, x, 5.0, 10).mean()) == pytest.approx(0.07, abs=5e-3)
    assert float(one_step_distance(flow, x, 20.0, 10).mean()) == pytest.approx(1.07, abs=5e-3)


@pytest.mark.skipif(not FILE.exists(), reason=f"there is no {FILE}")
def test_so_does_a_field_of_our_own_fit() -> None:
    """With other hash functions: they hardly matter."""
    stored = figures()
    flow = fit_steerer("odesteer", stored["positive"], stored["negative"], seed=0)
    assert isinstance(flow, PolynomialFlow)
    x = stored["x"].double()
    cosine = field_cosine(directions(Acting(flow), x, 5.0)).mean()
    assert float(cosine) == pytest.approx(0.984, abs=2e-3)
    assert float(one_step_distance(flow, x, 5.0, 10).mean()) == pytest.approx(0.07, abs=5e-3)
