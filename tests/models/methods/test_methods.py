"""Laws that hold for every steering method of the registry, and what each refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_options import SMALL
from torch import Tensor

import steereval
from steereval.common.errors import FitError, InputError, UnknownNameError
from steereval.models import fit_steerer, load_steerer, odesteer_from_sketch, testing
from steereval.models.fitting.contrast_data import ContrastData, SiteData
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.method import NoOptions, SiteMethod
from steereval.models.methods.odesteer import PolynomialFlow
from steereval.models.methods.registry import BUILT_IN, get_method
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer
from steereval.models.testing import LAWS, WIDTH, MethodCase, contrast_data, points, steer

NAMES = sorted(name for name, method in BUILT_IN.items() if name != "none" and method.fits)
FLOWS = ["odesteer", "step_odesteer", "linear_sphere"]
POLYNOMIAL = ["odesteer", "step_odesteer"]
TRAINED = ["hpr", "re_control", "truthflow"]
NEEDS_QUERIES = ["truthflow"]
HEADS = ["iti_heads"]
"""Methods that choose among attention heads."""
TWO_CLASSES = sorted({*NAMES} - {*NEEDS_QUERIES, *HEADS})
"""Methods that can be fitted to two matrices alone."""
CLOSED_FORM = sorted({*TWO_CLASSES} - {"hpr", "re_control", "repe", "rff_odesteer"})
"""Methods whose fit sees the samples as two sets, in no order."""
ODD = sorted({"caa", "iti", "repe", "angular", "rff_odesteer", *FLOWS})
"""Methods that go the other way when the classes are swapped."""

each_method = pytest.mark.parametrize("method", NAMES)
each_method_of_a_site = pytest.mark.parametrize("method", sorted({*NAMES} - {*HEADS}))
each_two_class_method = pytest.mark.parametrize("method", TWO_CLASSES)
# Far beyond a radian round the sphere flows meet their fixed points, where every digit counts.
strengths = st.floats(-8, 8).filter(lambda value: abs(value) > 1e-3)
data_seeds = st.integers(0, 3)


def samples(seed: int) -> tuple[Tensor, Tensor]:
    """Positive and negative samples [40, WIDTH] of two overlapping Gaussians."""
    data = contrast_data(seed)
    return data.positive[testing.SITE], data.negative[testing.SITE]


def case(method: str, data_seed: int = 0) -> MethodCase:
    return MethodCase(BUILT_IN[method], SMALL.get(method, {}), data_seed)


@cache
def fitted(method: str, data_seed: int = 0, seed: int = 0) -> Steerer:
    return case(method, data_seed).fit(seed)


@each_method
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_laws(method: str, law: Any) -> None:
    law(case(method))


@each_method
@settings(max_examples=15)
@given(seed=st.integers(0, 99), strength=strengths, order=st.permutations(range(6)))
def test_batch_order_and_shape_do_not_matter(
    method: str, seed: int, strength: float, order: list[int]
) -> None:
    steerer, x = fitted(method), points(seed, 6)
    whole = steer(steerer, x, strength)
    slack = 2e-5 * float(whole.abs().max())
    one_by_one = torch.cat([steer(steerer, row[None], strength) for row in x])
    assert torch.allclose(one_by_one, whole, atol=slack)
    assert torch.allclose(steer(steerer, x[order], strength), whole[order], atol=slack)


@each_method
@settings(max_examples=15)
@given(seed=st.integers(0, 99), data_seed=data_seeds, strength=strengths)
def test_dtypes_agree(method: str, seed: int, data_seed: int, strength: float) -> None:
    """Of every steerer, at every strength: no more than the dtype's own rounding."""
    steerer = fitted(method, data_seed)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = points(seed, 4).to(dtype)
        exact = steer(steerer, x.double(), strength)
        result = steer(steerer, x, strength)
        assert result.dtype == dtype
        slack = 2 * torch.finfo(dtype).eps if dtype != torch.float32 else 3e-5
        largest = max(exact.abs().max(), x.double().abs().max())
        assert torch.allclose(result.double(), exact, rtol=slack, atol=slack * largest)


@each_method
@given(seed=st.integers(0, 99), data_seed=data_seeds)
def test_strength_zero_is_the_identity(method: str, seed: int, data_seed: int) -> None:
    testing.strength_zero_is_the_identity(case(method, data_seed), seed)


@pytest.mark.parametrize("method", CLOSED_FORM)
@settings(max_examples=10)
@given(data_seed=data_seeds, order=st.randoms(use_true_random=False))
def test_order_of_the_samples_does_not_matter(method: str, data_seed: int, order: Any) -> None:
    positive, negative = samples(data_seed)
    rows = list(range(len(positive)))
    order.shuffle(rows)
    mixed = fit_steerer(method, positive[rows], negative.flip(0), **SMALL.get(method, {}))
    x = points(data_seed, 5)
    result, wanted = (steer(steerer, x, 2.0) for steerer in (mixed, fitted(method, data_seed)))
    assert torch.allclose(result, wanted, atol=2e-3)


@pytest.mark.parametrize("method", ODD)
@settings(max_examples=10)
@given(data_seed=data_seeds)
def test_classes_swapped_steer_the_other_way(method: str, data_seed: int) -> None:
    positive, negative = samples(data_seed)
    back = fit_steerer(method, negative, positive, **SMALL.get(method, {}))
    x = points(data_seed, 5)
    there = fitted(method, data_seed)(x, 0.1) - x
    assert torch.allclose(back(x, -0.1) - x, there, atol=1e-3 * there.norm(dim=1).max())


@pytest.mark.slow
@pytest.mark.parametrize("method", FLOWS)
@settings(max_examples=20)
@given(seed=st.integers(0, 99), data_seed=data_seeds)
def test_the_barrier_rises_along_the_exact_flow(method: str, seed: int, data_seed: int) -> None:
    """And falls against it; the norm stays, and the path is as long as the strength."""
    steerer = fitted(method, data_seed)
    assert isinstance(steerer, BarrierFlow)
    flow = replace(steerer, solver="rk4", steps=5)
    x = points(seed, 3).double()
    path = [x]
    for _ in range(5):
        path.append(flow(path[-1], 0.5))
    heights = torch.stack([flow.barrier(place) for place in path])
    assert (heights.diff(dim=0) > 0).all()
    assert (flow.barrier(flow(x, -0.5)) < heights[0]).all()
    assert torch.allclose(path[-1].norm(dim=1), x.norm(dim=1), rtol=1e-6)
    fine = torch.stack([flow(x, t / 20) for t in range(21)])
    lengths = fine.diff(dim=0).norm(dim=-1).sum(dim=0)
    assert torch.allclose(lengths, torch.ones_like(lengths), rtol=1e-3)


@pytest.mark.parametrize("method", [*FLOWS, "rff_odesteer"])
def test_the_barrier_is_the_log_odds_and_the_class_ratio(method: str) -> None:
    positive, negative = samples(0)
    flow = fit_steerer(method, positive, negative[:30], **SMALL.get(method, {}))
    assert isinstance(flow, BarrierFlow)
    ratio, x = torch.log(torch.tensor(30 / 40)), points(0, 5)
    assert torch.allclose(flow.barrier(x) - flow.log_odds(x), ratio, atol=1e-5)


@pytest.mark.parametrize("method", [*FLOWS, "rff_odesteer"])
@given(seed=st.integers(0, 99), data_seed=data_seeds)
def test_the_field_is_the_gradient_of_the_barrier(method: str, seed: int, data_seed: int) -> None:
    """Against automatic differentiation, and of length one."""
    flow = fitted(method, data_seed)
    assert isinstance(flow, BarrierFlow)
    x = points(seed, 3).double().requires_grad_(True)
    (wanted,) = torch.autograd.grad(flow.barrier(x).sum(), x)
    assert torch.allclose(flow.gradient(x.detach()), wanted, atol=1e-6)
    unit = wanted / wanted.norm(dim=1, keepdim=True)
    assert torch.allclose(flow.field(x.detach()), unit, atol=1e-5)


@given(seed=st.integers(0, 99), data_seed=data_seeds)
def test_the_fourier_flow_climbs(seed: int, data_seed: int) -> None:
    flow = fitted("rff_odesteer", data_seed)
    assert isinstance(flow, BarrierFlow)
    flow, x = replace(flow, solver="rk4", steps=20), points(seed, 3).double()
    heights = torch.stack([flow.barrier(flow(x, t)) for t in (-0.5, 0.0, 0.25, 0.5)])
    assert (heights.diff(dim=0) > 0).all()


def test_the_single_step_is_odesteer_with_one_step() -> None:
    x = points(0, 5)
    one = fit_steerer("odesteer", *samples(0), components=128, steps=1)
    assert torch.equal(one(x, 3.0), fitted("step_odesteer")(x, 3.0))
    direction = fitted("step_odesteer").field(x)  # type: ignore[attr-defined]
    assert torch.allclose(one(x, 3.0), x + 3.0 * direction, atol=1e-5)


@each_two_class_method
@pytest.mark.parametrize("which", ["positive", "negative"])
def test_one_class_only(method: str, which: str) -> None:
    parts = dict(zip(("positive", "negative"), samples(0), strict=True))
    parts[which] = parts[which][:0]
    with pytest.raises(FitError, match=rf"the {which} activations at layer 0 have shape \(0, 24\)"):
        fit_steerer(method, **parts)


@each_two_class_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("which", ["positive", "negative"])
def test_not_finite(method: str, which: str, bad: float) -> None:
    parts = dict(zip(("positive", "negative"), samples(0), strict=True))
    parts[which] = parts[which].clone()
    parts[which][3, 5] = bad
    wanted = rf"1 of {len(parts[which])} {which} activations at layer 0 are not finite"
    with pytest.raises(FitError, match=wanted):
        fit_steerer(method, **parts)


@each_two_class_method
def test_dimensions_that_differ(method: str) -> None:
    positive, negative = samples(0)
    with pytest.raises(FitError, match="dimension 24, negative ones 20"):
        fit_steerer(method, positive, negative[:, :20])


@each_two_class_method
@pytest.mark.parametrize("shape", [(24,), (2, 3, 24), (5, 0)])
def test_no_matrix(method: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(FitError, match=rf"positive .* shape \({shape[0]},"):
        fit_steerer(method, torch.ones(shape), torch.ones(3, 24))


@each_two_class_method
def test_all_rows_equal(method: str) -> None:
    with pytest.raises(FitError, match="all activations at layer 0 are the same"):
        fit_steerer(method, torch.ones(4, 24), torch.ones(3, 24))


@pytest.mark.parametrize("method", sorted({*TWO_CLASSES} - {"re_control"}))
def test_classes_that_do_not_differ(method: str) -> None:
    """Nothing tells them apart, so there is no direction."""
    positive, _ = samples(0)
    with pytest.raises(FitError, match="the same"):
        fit_steerer(method, positive, positive.clone(), **SMALL.get(method, {}))


@pytest.mark.parametrize("method", FLOWS)
def test_classes_that_differ_in_length_alone(method: str) -> None:
    """The flows see directions only."""
    positive, _ = samples(0)
    with pytest.raises(FitError, match="look the same from the origin"):
        fit_steerer(method, positive, 2 * positive, **SMALL.get(method, {}))


@pytest.mark.parametrize("method", FLOWS)
def test_a_fit_that_does_not_converge(method: str) -> None:
    with pytest.raises(FitError, match="did not converge in 1 iterations"):
        fit_steerer(method, *samples(0), max_iterations=1, C=1e6, **SMALL.get(method, {}))


@each_two_class_method
def test_unknown_option(method: str) -> None:
    with pytest.raises(InputError, match=f"{method}.*'komponents'"):
        fit_steerer(method, *samples(0), komponents=3)


def test_unknown_method() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown method 'odester'.*'odesteer'"):
        fit_steerer("odester", *samples(0))


def test_none_acts_nowhere() -> None:
    method = get_method("none")
    data = ContrastData(*({Site(0): part} for part in samples(0)))
    assert method.fit(data, method.options({}), 0) == {}
    with pytest.raises(InputError, match="none gives no steerer"):
        fit_steerer("none", *samples(0))


@pytest.mark.parametrize("method", HEADS)
def test_activations_of_one_site_have_no_heads(method: str) -> None:
    with pytest.raises(InputError, match="attention heads"):
        fit_steerer(method, *samples(0))


@each_method_of_a_site
def test_every_site_is_fitted_alone(method: str) -> None:
    low, high = contrast_data(0), contrast_data(1)
    by_site = ("positive", "negative", "queries", "positive_means", "negative_means")
    merged: dict[str, Any] = {
        name: {
            Site(3): getattr(low, name)[testing.SITE], Site(1): getattr(high, name)[testing.SITE]
        }
        for name in (*by_site, "trajectories")
    }  # fmt: skip
    data, chosen, x = replace(low, **merged), get_method(method), points(0, 4)
    steerer = chosen.fit(data, chosen.options(SMALL.get(method, {})), 0)
    assert list(steerer) == [Site(1), Site(3)]
    assert torch.equal(steer(steerer[Site(3)], x, 2.0), steer(fitted(method, 0), x, 2.0))
    assert torch.equal(steer(steerer[Site(1)], x, 2.0), steer(fitted(method, 1), x, 2.0))


def test_contrast_data_without_sites() -> None:
    with pytest.raises(FitError, match="no site"):
        ContrastData({}, {})


def test_contrast_data_of_whole_numbers() -> None:
    with pytest.raises(FitError, match=r"layer 2 are torch\.int64"):
        ContrastData({Site(2): torch.ones(2, 3).long()}, {Site(2): torch.ones(2, 3)})


def test_data_that_lacks_what_a_method_needs() -> None:
    class Paired(SiteMethod):
        name = "paired"
        Options = NoOptions

        def needs(self, options: Any) -> frozenset[str]:
            return frozenset({"pairs"})

        def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
            return fitted("caa")

    positive, negative = samples(0)
    data = ContrastData({Site(0): positive}, {Site(0): negative})
    with pytest.raises(InputError, match="method paired needs pairs"):
        Paired().fit(data, None, 0)
    pairs = torch.tensor([[0, 0]])
    assert Paired().fit(replace(data, pairs=pairs), None, 0) == {Site(0): fitted("caa")}


@each_method
def test_wrong_width(method: str) -> None:
    state = torch.ones(2, 1 + WIDTH)
    with pytest.raises(InputError, match=r"dimension 7 were given .* of dimension 24"):
        fitted(method).apply(torch.ones(2, 7), 1.0, state)


def test_a_per_query_steerer_cannot_be_called(gate: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="decides per query"):
        gate(8)(torch.ones(2, 8), 1.0)


@each_two_class_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_fitted_to_other_dtypes(method: str, dtype: torch.dtype) -> None:
    positive, negative = (part.to(dtype) for part in samples(0))
    steerer = fit_steerer(method, positive, negative, **SMALL.get(method, {}))
    assert steer(steerer, points(0, 2), 1.0).dtype == torch.float32


def test_odesteer_from_sketch_is_the_fitted_flow() -> None:
    flow, x = fitted("odesteer"), points(0, 5)
    assert isinstance(flow, PolynomialFlow)
    made = odesteer_from_sketch(flow.index_hash, flow.sign_hash, flow.coef, flow.intercept, steps=4)
    assert torch.allclose(made(x, 3.0), flow(x, 3.0), atol=1e-4)
    assert torch.allclose(made.log_odds(x), flow.log_odds(x), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"degree": 3}, "do not fit degree 3"),
        ({"sign_hash": torch.ones(2, 24)}, "do not fit degree 2"),
        ({"index_hash": torch.ones(2, 1).long(), "sign_hash": torch.ones(2, 1)}, "do not fit"),
        ({"coef": torch.ones(5)}, "coef has 5 components"),
        ({"index_hash": -torch.ones(2, 25).long()}, "Hashes must lie in"),
        ({"solver": "heun"}, "options.solver is 'heun'"),
        ({"steps": 0}, "options.steps is 0"),
        ({"gamma": 0.0}, "options.gamma is 0"),
    ],
)
def test_odesteer_from_sketch_refuses(changes: dict[str, Any], message: str) -> None:
    flow = fitted("odesteer")
    assert isinstance(flow, PolynomialFlow)
    values: dict[str, Any] = {
        "index_hash": flow.index_hash, "sign_hash": flow.sign_hash, "coef": flow.coef,
        "intercept": flow.intercept,
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        odesteer_from_sketch(**(values | changes))


def test_registry() -> None:
    for name, method in BUILT_IN.items():
        assert get_method(name) is method
        assert method.name == name
        assert method.summary


def test_public_names() -> None:
    assert steereval.fit_steerer is fit_steerer
    assert steereval.load_steerer is load_steerer
