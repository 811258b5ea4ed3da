"""Laws that hold for every steering method of the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import steereval
from steereval.errors import FitError, InputError, UnknownNameError
from steereval.models import fit_steerer, load_steerer, odesteer_from_sketch
from steereval.models.artefact import Artefact, save_artefact
from steereval.models.methods.method import NoOptions, SiteMethod
from steereval.models.methods.odesteer import BarrierFlow
from steereval.models.methods.registry import METHODS, get_method
from steereval.models.sites import Site
from steereval.models.steerer import ContrastData, Steerer

WIDTH = 24
SMALL: dict[str, dict[str, Any]] = {
    "odesteer": {"components": 128, "steps": 4},
    "step_odesteer": {"components": 128},
}
NAMES = sorted(METHODS.keys() - {"none"})
SEEDED = [name for name in NAMES if METHODS[name].seeded]
FLOWS = ["odesteer", "step_odesteer"]

each_method = pytest.mark.parametrize("method", NAMES)
strengths = st.floats(-30, 30).filter(lambda value: abs(value) > 1e-3)
data_seeds = st.integers(0, 3)


def samples(seed: int, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    """Positive [40, width] and negative [30, width] samples of two overlapping gaussians."""
    draw = torch.Generator().manual_seed(50 + seed)
    centre, shift = 2 * torch.randn(2, width, generator=draw)
    positive = torch.randn(40, width, generator=draw) + centre + shift / 4
    negative = torch.randn(30, width, generator=draw) + centre - shift / 4
    return positive, negative


@cache
def fitted(method: str, data_seed: int = 0, seed: int = 0, width: int = WIDTH) -> Steerer:
    return fit_steerer(method, *samples(data_seed, width), seed=seed, **SMALL.get(method, {}))


def points(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))


@each_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@given(seed=st.integers(0, 99), data_seed=data_seeds)
def test_strength_zero_is_the_identity(
    method: str, dtype: torch.dtype, seed: int, data_seed: int
) -> None:
    """Bit for bit, whatever the activations hold."""
    x = points(seed, 3, 2).to(dtype)
    x[0, 0, 0] = torch.inf
    x[1, 0, 1] = -0.0
    found = fitted(method, data_seed)(x, 0.0)
    assert found.dtype == dtype
    assert found.view(torch.uint8).equal(x.view(torch.uint8))


@each_method
@given(seed=st.integers(0, 99), strength=strengths, order=st.permutations(range(6)))
def test_batch_order_and_shape_do_not_matter(
    method: str, seed: int, strength: float, order: list[int]
) -> None:
    steerer, x = fitted(method), points(seed, 6)
    whole = steerer(x, strength)
    one_by_one = torch.stack([steerer(row, strength) for row in x])
    assert torch.allclose(one_by_one, whole, atol=1e-4)
    assert torch.allclose(steerer(x[order], strength), whole[order], atol=1e-4)
    assert torch.allclose(steerer(x.view(2, 3, WIDTH), strength).view(6, WIDTH), whole, atol=1e-4)
    chunks = torch.cat([steerer(part, strength) for part in x.split([1, 3, 2])])
    assert torch.allclose(chunks, whole, atol=1e-4)


@each_method
@given(seed=st.integers(0, 99), strength=strengths)
def test_dtypes_agree_within_their_precision(method: str, seed: int, strength: float) -> None:
    steerer = fitted(method)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = points(seed, 4).to(dtype)
        exact = steerer(x.double(), strength)
        found = steerer(x, strength)
        assert found.dtype == dtype
        # Rounding the exact answer is all that a lower precision may do, and one place more.
        slack = 2 * torch.finfo(dtype).eps if dtype != torch.float32 else 1e-5
        assert torch.allclose(found.double(), exact, rtol=slack, atol=slack * exact.abs().max())


@each_method
@given(seed=st.integers(0, 99), strength=strengths)
def test_the_input_is_not_edited(method: str, seed: int, strength: float) -> None:
    x = points(seed, 4)
    kept = x.clone()
    fitted(method)(x, strength)
    assert torch.equal(x, kept)


@each_method
def test_steering_moves(method: str) -> None:
    x = points(0, 4)
    assert ((fitted(method)(x, 1.0) - x).norm(dim=1) > 0.1).all()


@each_method
def test_same_seed_same_tensors(method: str) -> None:
    """From the seed given alone: global random states do not matter and are left alone."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = fit_steerer(method, *samples(0), seed=7, **SMALL.get(method, {}))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = fit_steerer(method, *samples(0), seed=7, **SMALL.get(method, {}))
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, other.tensors()[name])
    assert one.settings() == other.settings()


@each_method
def test_another_seed(method: str) -> None:
    """Changes what a seeded method draws, and nothing of the others."""
    one, other = fitted(method, seed=0), fitted(method, seed=1)
    same = all(torch.equal(tensor, other.tensors()[name]) for name, tensor in one.tensors().items())
    assert same == (method not in SEEDED)


def test_which_methods_draw() -> None:
    assert set(SEEDED) == {"odesteer", "step_odesteer"}


@each_method
def test_save_and_load(tmp_path: Any, method: str) -> None:
    steerer, x = fitted(method), points(3, 5)
    save_artefact(Artefact({Site(0): steerer}, {}), tmp_path / method)
    assert torch.equal(load_steerer(tmp_path / method)(x, 2.5), steerer(x, 2.5))


@each_method
@settings(max_examples=10)
@given(data_seed=data_seeds, order=st.randoms(use_true_random=False))
def test_order_of_the_samples_does_not_matter(method: str, data_seed: int, order: Any) -> None:
    positive, negative = samples(data_seed)
    rows = list(range(len(positive)))
    order.shuffle(rows)
    mixed = fit_steerer(method, positive[rows], negative.flip(0), **SMALL.get(method, {}))
    x = points(data_seed, 5)
    assert torch.allclose(mixed(x, 2.0), fitted(method, data_seed)(x, 2.0), atol=1e-3)


@each_method
@settings(max_examples=10)
@given(data_seed=data_seeds)
def test_classes_swapped_steer_the_other_way(method: str, data_seed: int) -> None:
    positive, negative = samples(data_seed)
    back = fit_steerer(method, negative, positive, **SMALL.get(method, {}))
    x = points(data_seed, 5)
    there = fitted(method, data_seed)(x, 0.1) - x
    assert torch.allclose(back(x, -0.1) - x, there, atol=1e-3 * there.norm(dim=1).max())


@each_method
def test_fewer_samples_than_dimensions(method: str) -> None:
    positive, negative = (part[:5] for part in samples(0))
    found = fit_steerer(method, positive, negative, **SMALL.get(method, {}))(points(0, 4), 3.0)
    assert torch.isfinite(found).all()


@each_method
def test_one_sample_of_each_class(method: str) -> None:
    positive, negative = (part[:1] for part in samples(0))
    found = fit_steerer(method, positive, negative, **SMALL.get(method, {}))(points(0, 4), 3.0)
    assert torch.isfinite(found).all()


@each_method
def test_the_zero_vector_is_steered_without_nan(method: str) -> None:
    assert torch.isfinite(fitted(method)(torch.zeros(2, WIDTH), 3.0)).all()


@each_method
@given(seed=st.integers(0, 99), share=st.sampled_from([0.01, -0.01]), data_seed=data_seeds)
def test_relative_unit(method: str, seed: int, share: float, data_seed: int) -> None:
    """Relative strength r displaces by r times the median norm of the fitted activations."""
    steerer, x = fitted(method, data_seed), points(seed, 5).double()
    norm = torch.cat(samples(data_seed)).norm(dim=1).median()
    moved = (steerer(x, steerer.absolute_strength(share, "relative")) - x).norm(dim=1)
    assert torch.allclose(moved, abs(share) * norm.double(), rtol=0.02)


@each_method
@pytest.mark.parametrize("unit", ["absolute", "relative"])
def test_units_agree_on_zero(method: str, unit: str) -> None:
    assert fitted(method).absolute_strength(0.0, unit) == 0.0


@each_method
@given(strength=strengths)
def test_absolute_is_the_methods_own(method: str, strength: float) -> None:
    assert fitted(method).absolute_strength(strength, "absolute") == strength


def test_a_norm_that_is_not_known_is_told() -> None:
    """Made from known hashes, or saved without a norm: relative must not mean zero."""
    flow = fitted("odesteer")
    assert isinstance(flow, BarrierFlow)
    made = odesteer_from_sketch(flow.index_hash, flow.sign_hash, flow.coef, flow.intercept)
    for steerer in (made, replace(fitted("caa"), typical_norm=0.0)):
        with pytest.raises(InputError, match="does not know the norm"):
            steerer.absolute_strength(1.0, "relative")


def test_no_relative_unit(toys: Any) -> None:
    with pytest.raises(InputError, match="toy_shift has no relative strengths"):
        toys.Shift(dimension=4, typical_norm=1.0).absolute_strength(1.0, "relative")


@pytest.mark.parametrize("method", FLOWS)
@settings(max_examples=20)
@given(seed=st.integers(0, 99), data_seed=data_seeds)
def test_the_barrier_rises_along_the_exact_flow(method: str, seed: int, data_seed: int) -> None:
    """And falls against it; the norm stays, and the path is as long as the strength."""
    found = fitted(method, data_seed)
    assert isinstance(found, BarrierFlow)
    flow = replace(found, solver="rk4", steps=5)
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


@pytest.mark.parametrize("method", FLOWS)
def test_the_barrier_is_the_log_odds_and_the_class_ratio(method: str) -> None:
    flow, x = fitted(method), points(0, 5)
    assert isinstance(flow, BarrierFlow)
    ratio = torch.log(torch.tensor(30 / 40))
    assert torch.allclose(flow.barrier(x) - flow.log_odds(x), ratio, atol=1e-5)


def test_the_single_step_is_odesteer_with_one_step() -> None:
    x = points(0, 5)
    one = fit_steerer("odesteer", *samples(0), components=128, steps=1)
    assert torch.equal(one(x, 3.0), fitted("step_odesteer")(x, 3.0))
    direction = fitted("step_odesteer").field(x)  # type: ignore[attr-defined]
    assert torch.allclose(one(x, 3.0), x + 3.0 * direction, atol=1e-5)


@each_method
@pytest.mark.parametrize("which", ["positive", "negative"])
def test_one_class_only(method: str, which: str) -> None:
    parts = dict(zip(("positive", "negative"), samples(0), strict=True))
    parts[which] = parts[which][:0]
    with pytest.raises(FitError, match=rf"the {which} activations at layer 0 have shape \(0, 24\)"):
        fit_steerer(method, **parts)


@each_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("which", ["positive", "negative"])
def test_not_finite(method: str, which: str, bad: float) -> None:
    parts = dict(zip(("positive", "negative"), samples(0), strict=True))
    parts[which] = parts[which].clone()
    parts[which][3, 5] = bad
    wanted = rf"1 of {len(parts[which])} {which} activations at layer 0 are not finite"
    with pytest.raises(FitError, match=wanted):
        fit_steerer(method, **parts)


@each_method
def test_dimensions_that_differ(method: str) -> None:
    positive, negative = samples(0)
    with pytest.raises(FitError, match="dimension 24, negative ones 20"):
        fit_steerer(method, positive, negative[:, :20])


@each_method
@pytest.mark.parametrize("shape", [(24,), (2, 3, 24), (5, 0)])
def test_no_matrix(method: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(FitError, match=rf"positive .* shape \({shape[0]},"):
        fit_steerer(method, torch.ones(shape), torch.ones(3, 24))


@each_method
def test_all_rows_equal(method: str) -> None:
    with pytest.raises(FitError, match="all activations at layer 0 are the same"):
        fit_steerer(method, torch.ones(4, 24), torch.ones(3, 24))


@each_method
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
        fit_steerer(method, positive, 2 * positive, **SMALL[method])


@pytest.mark.parametrize("method", FLOWS)
def test_a_fit_that_does_not_converge(method: str) -> None:
    with pytest.raises(FitError, match="did not converge in 1 iterations"):
        fit_steerer(method, *samples(0), max_iterations=1, C=1e6, **SMALL[method])


@each_method
def test_unknown_option(method: str) -> None:
    with pytest.raises(InputError, match=f"method {method} has no option 'komponents'"):
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


@each_method
def test_every_site_is_fitted_alone(method: str) -> None:
    low, high = samples(0), samples(1)
    data = ContrastData({Site(3): low[0], Site(1): high[0]}, {Site(3): low[1], Site(1): high[1]})
    chosen = get_method(method)
    found = chosen.fit(data, chosen.options(SMALL.get(method, {})), 0)
    x = points(0, 4)
    assert list(found) == [Site(1), Site(3)]
    assert torch.equal(found[Site(3)](x, 2.0), fitted(method, 0)(x, 2.0))
    assert torch.equal(found[Site(1)](x, 2.0), fitted(method, 1)(x, 2.0))


def test_contrast_data_without_sites() -> None:
    with pytest.raises(FitError, match="no site"):
        ContrastData({}, {})


def test_contrast_data_of_whole_numbers() -> None:
    with pytest.raises(FitError, match=r"layer 2 are torch\.int64"):
        ContrastData({Site(2): torch.ones(2, 3).long()}, {Site(2): torch.ones(2, 3)})


def test_data_that_lacks_what_a_method_needs() -> None:
    class Paired(SiteMethod):
        name = "paired"
        needs = frozenset({"pairs"})
        Options = NoOptions

        def fit_site(self, positive: Tensor, negative: Tensor, options: Any, seed: int) -> Steerer:
            return fitted("caa")

    positive, negative = samples(0)
    data = ContrastData({Site(0): positive}, {Site(0): negative})
    with pytest.raises(InputError, match="method paired needs pairs"):
        Paired().fit(data, None, 0)
    pairs = torch.tensor([[0, 0]])
    assert Paired().fit(replace(data, pairs=pairs), None, 0) == {Site(0): fitted("caa")}


@each_method
def test_wrong_width(method: str) -> None:
    with pytest.raises(InputError, match=r"dimension 7 were given .* of dimension 24"):
        fitted(method)(torch.ones(2, 7), 1.0)


def test_a_per_query_steerer_cannot_be_called(gate: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="decides per query"):
        gate(8)(torch.ones(2, 8), 1.0)


@each_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_fitted_to_other_dtypes(method: str, dtype: torch.dtype) -> None:
    positive, negative = (part.to(dtype) for part in samples(0))
    steerer = fit_steerer(method, positive, negative, **SMALL.get(method, {}))
    assert steerer(points(0, 2), 1.0).dtype == torch.float32


def test_odesteer_from_sketch_is_the_fitted_flow() -> None:
    flow, x = fitted("odesteer"), points(0, 5)
    assert isinstance(flow, BarrierFlow)
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
        ({"solver": "heun"}, "solver must be one of"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"gamma": 0.0}, "gamma must be above 0"),
    ],
)
def test_odesteer_from_sketch_refuses(changes: dict[str, Any], message: str) -> None:
    flow = fitted("odesteer")
    assert isinstance(flow, BarrierFlow)
    values: dict[str, Any] = {
        "index_hash": flow.index_hash, "sign_hash": flow.sign_hash, "coef": flow.coef,
        "intercept": flow.intercept,
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        odesteer_from_sketch(**(values | changes))


def test_registry() -> None:
    for name, method in METHODS.items():
        assert get_method(name) is method
        assert method.name == name
        assert method.summary


def test_public_names() -> None:
    assert steereval.fit_steerer is fit_steerer
    assert steereval.load_steerer is load_steerer
