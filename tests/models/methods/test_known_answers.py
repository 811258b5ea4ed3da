"""What trained and distribution-matching methods claim, on data whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steereval.common.errors import FitError, InputError
from steereval.models import fit_steerer
from steereval.models.fitting.contrast_data import ContrastData
from steereval.models.fitting.network import apply_mlp, relu_gradient
from steereval.models.fitting.training import TrainingOptions, split_rows, train
from steereval.models.methods.ablate import Ablation
from steereval.models.methods.conditional import GatedSteerer
from steereval.models.methods.gradient_ascent import GradientAscentSteerer
from steereval.models.methods.hpr import PseudoRotation
from steereval.models.methods.linact import quantiles
from steereval.models.methods.mimic import GaussianTransport, covariance, transport
from steereval.models.methods.re_control import ValueAscent
from steereval.models.methods.registry import get_method
from steereval.models.methods.truthflow import QueryFlow, main_directions
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer
from steereval.models.testing import contrast_data, points, steer

WIDTH = 16
SITE = Site(0)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def separated(count: int = 400, gap: float = 3.0) -> tuple[Tensor, Tensor]:
    """Pairs that differ along one direction, off the origin."""
    noise, offset = draw(1, count, WIDTH), 4 * draw(2, WIDTH)
    direction = torch.nn.functional.normalize(draw(3, WIDTH), dim=0)
    base = noise + offset - (offset @ direction) * direction
    return base + gap / 2 * direction, base - gap / 2 * direction + 0.1 * draw(4, count, WIDTH)


@pytest.mark.slow
def test_hpr_moves_negatives_across_the_probes_boundary() -> None:
    positive, negative = separated()
    steerer = fit_steerer("hpr", positive, negative, epochs=60, learning_rate=3e-3, patience=60)
    assert isinstance(steerer, PseudoRotation)
    side = steerer.probe
    assert float((positive @ side > 0).float().mean()) > 0.9
    assert float((negative @ side < 0).float().mean()) > 0.9
    moved = steerer(negative, 1.0)
    assert float((moved @ side > 0).float().mean()) > 0.9
    assert torch.allclose(moved.norm(dim=1), negative.norm(dim=1), rtol=1e-5)
    assert torch.equal(steerer(positive, 1.0)[positive @ side > 0], positive[positive @ side > 0])
    goal = torch.acos(torch.nn.functional.cosine_similarity(positive, negative, dim=1))
    assert float((steerer.angle(negative) - goal).abs().mean()) < 0.1


@given(seed=st.integers(0, 99), strength=st.floats(-1, 1))
def test_hpr_is_the_published_formula(seed: int, strength: float) -> None:
    """[sin(theta) x' + sin(gamma - theta) x]/sin(gamma) with theta scaled by the strength."""
    steerer = _rotation()
    x = points(seed, 8, width=WIDTH).double()
    w = steerer.probe.double()
    mirrored = x - 2 * (x @ w)[:, None] * w / (w @ w)
    gamma = torch.acos(torch.nn.functional.cosine_similarity(x, mirrored, dim=1))[:, None]
    theta = strength * steerer.angle(x)[:, None]
    turned = (torch.sin(theta) * mirrored + torch.sin(gamma - theta) * x) / torch.sin(gamma)
    wanted = torch.where((x @ w > 0)[:, None], x, turned)
    assert torch.allclose(steerer.apply(x, strength), wanted if strength else x, atol=1e-6)


def _rotation() -> PseudoRotation:
    steerer = fit_steerer("hpr", *separated(40), epochs=1)
    assert isinstance(steerer, PseudoRotation)
    return steerer


def test_re_control_raises_the_reward() -> None:
    """The reward is 1 where a coordinate is positive: steering must raise that coordinate."""
    tokens = [draw(10 + i, 1 + i % 4, WIDTH) for i in range(300)]
    for answer in tokens:
        answer[:, 0] = answer[-1, 0]
    rewards = torch.tensor([float(answer[-1, 0] > 0) for answer in tokens])
    last = torch.stack([answer[-1] for answer in tokens])
    data = ContrastData(
        {SITE: last[rewards > 0]}, {SITE: last[rewards == 0]},
        trajectories={SITE: tokens}, rewards=rewards,
    )  # fmt: skip
    method = get_method("re_control")
    given_options = {"hidden": 64, "epochs": 60, "learning_rate": 3e-3, "patience": 60}
    steerer = method.fit(data, method.options(given_options), 0)[SITE]
    assert isinstance(steerer, ValueAscent)
    fresh = draw(9, 500, WIDTH)
    value = steerer.value(fresh)
    assert float(value[fresh[:, 0] > 0.5].mean() - value[fresh[:, 0] < -0.5].mean()) > 0.5
    moved = steerer(fresh, 0.2)
    assert float((moved[:, 0] - fresh[:, 0]).mean()) > 0.3
    assert float((steerer.value(moved) - value).mean()) > 0.1
    assert steerer.training["train_loss"][-1] < steerer.training["train_loss"][0]


def test_re_control_meets_the_reward_at_the_last_token_not_the_first() -> None:
    """Answers whose first token says nothing and whose last tells the reward."""
    tokens = [torch.cat([draw(i, 2, WIDTH) * 0.1, draw(1000 + i, 1, WIDTH)]) for i in range(200)]
    rewards = torch.tensor([float(a[-1, 3] > 0) for a in tokens])
    for answer, reward in zip(tokens, rewards, strict=True):
        answer[-1, 3] = 3 * (2 * reward - 1)
    last = torch.stack([a[-1] for a in tokens])
    data = ContrastData(
        {SITE: last[rewards > 0]}, {SITE: last[rewards == 0]},
        trajectories={SITE: tokens}, rewards=rewards,
    )  # fmt: skip
    method = get_method("re_control")
    options = method.options({"hidden": 64, "epochs": 80, "learning_rate": 3e-3, "patience": 80})
    steerer = method.fit(data, options, 0)[SITE]
    assert isinstance(steerer, ValueAscent)
    value = steerer.value(last)
    # The tokens before have a value of 0.5, and the last one lies halfway to its reward.
    assert float(value[rewards > 0].mean()) == pytest.approx(0.75, abs=0.05)
    assert float(value[rewards == 0].mean()) == pytest.approx(0.25, abs=0.05)


@given(seed=st.integers(0, 99))
def test_the_gradient_of_a_relu_network(seed: int) -> None:
    weights = (draw(1, 5, WIDTH), draw(2, 5), draw(3, 7, 5), draw(4, 7), draw(5, 1, 7), draw(6, 1))
    x = points(seed, 4, width=WIDTH).requires_grad_(True)
    (wanted,) = torch.autograd.grad(apply_mlp(weights, x, torch.relu).sum(), x)
    assert torch.allclose(relu_gradient(weights, x.detach()), wanted, atol=1e-4)


def queries_with_a_shift(shift: Tensor, noise: float) -> ContrastData:
    """Answers to 300 queries; correct ones lie `shift` beyond incorrect ones."""
    count = 300
    queries = draw(1, count, WIDTH) + 2
    wrong = queries + draw(2, count, WIDTH)
    right = wrong + shift + noise * draw(3, count, WIDTH)
    rows = torch.arange(count)
    return ContrastData(
        {SITE: right}, {SITE: wrong}, queries={SITE: queries},
        positive_query=rows, negative_query=rows,
        positive_means={SITE: right}, negative_means={SITE: wrong},
    )  # fmt: skip


def truthflow(data: ContrastData, **options: Any) -> QueryFlow:
    method = get_method("truthflow")
    usual = {"epochs": 120, "learning_rate": 2e-3, "patience": 120}
    steerer = method.fit(data, method.options(usual | options), 0)[SITE]
    assert isinstance(steerer, QueryFlow)
    return steerer


@pytest.mark.slow
def test_truthflows_mean_flow_is_the_mean_shift() -> None:
    shift = 3 * draw(7, WIDTH)
    steerer = truthflow(queries_with_a_shift(shift, 0.3))
    result = steerer.correction(draw(8, 200, WIDTH) + 2).mean(dim=0)
    assert float((result - shift).norm() / shift.norm()) < 0.1


@pytest.mark.slow
def test_truthflow_tells_queries_apart() -> None:
    """Two kinds of queries that need opposite corrections, which no constant shift can give."""
    count, direction = 400, 4 * torch.nn.functional.normalize(draw(7, WIDTH), dim=0)
    kind = torch.arange(count) % 2 * 2.0 - 1
    queries = draw(1, count, WIDTH)
    queries[:, 0] = 2 * kind
    wrong = draw(2, count, WIDTH)
    right = wrong + kind[:, None] * direction
    rows = torch.arange(count)
    data = ContrastData(
        {SITE: right}, {SITE: wrong}, queries={SITE: queries},
        positive_query=rows, negative_query=rows,
        positive_means={SITE: right}, negative_means={SITE: wrong},
    )  # fmt: skip
    steerer = truthflow(data, components=1)
    along = steerer.correction(queries) @ direction / direction.norm()
    assert float((along * kind).mean()) > 3
    x = torch.zeros(count, WIDTH)
    moved = steerer.apply(x, 1.0, steerer.begin(queries, ["q"] * count))
    assert torch.allclose(moved, 1.5 * steerer.correction(queries), atol=1e-5)


def test_truthflow_projects_on_the_main_directions() -> None:
    rows = torch.outer(draw(1, 50).double(), draw(2, WIDTH).double())
    directions = main_directions(rows, 5)
    assert directions.shape == (1, WIDTH)
    assert torch.allclose(rows @ directions.double().T @ directions.double(), rows, atol=1e-5)


def gaussian(seed: int, count: int, mean: float) -> Tensor:
    mix = draw(seed, WIDTH, WIDTH) / 3 + torch.eye(WIDTH)
    return draw(seed + 1, count, WIDTH) @ mix + mean


def test_mimic_matches_mean_and_covariance() -> None:
    positive, negative = gaussian(1, 4000, 1.0), gaussian(5, 4000, -1.0)
    steerer = fit_steerer("mimic", positive, negative, regularisation=0.0)
    assert isinstance(steerer, GaussianTransport)
    moved = (negative + steerer.displacement(negative)).double()
    assert torch.allclose(moved.mean(dim=0), positive.double().mean(dim=0), atol=1e-3)
    wanted = covariance(positive.double(), 0.0)
    assert torch.allclose(covariance(moved, 0.0), wanted, atol=1e-2 * float(wanted.abs().max()))


def test_mimic_leaves_alone_what_looks_positive() -> None:
    positive, negative = separated()
    steerer = fit_steerer("mimic", positive, negative)
    assert isinstance(steerer, GaussianTransport)
    x = torch.cat([positive, negative])
    unmoved = steerer.looks_positive(x)
    assert torch.equal(steerer(x, 1.0)[unmoved], x[unmoved])
    assert (steerer(x, 1.0)[~unmoved] - x[~unmoved]).norm(dim=1).min() > 0.1


@given(seed=st.integers(0, 99))
def test_the_transport_between_gaussians(seed: int) -> None:
    """Symmetric, positive, and A S A = T: the optimal map."""
    source, target = (
        (half := draw(seed + k, 8, 8).double()) @ half.T + 0.1 * torch.eye(8) for k in (0, 500)
    )
    result = transport(source, target)
    assert torch.allclose(result, result.T)
    assert float(torch.linalg.eigvalsh(result).min()) > 0
    assert torch.allclose(result @ source @ result, target, atol=1e-8 * float(target.abs().max()))


def test_mimic_on_fewer_samples_than_dimensions_in_float32() -> None:
    """600 activations of dimension 576 made the published fit return NaN."""
    base = draw(1, 300, 576)
    positive, negative = base + 0.3 * draw(2, 300, 576), base + 0.3 * draw(3, 300, 576) - 0.1
    moved = fit_steerer("mimic", positive, negative)(negative, 1.0)
    wanted = fit_steerer("mimic", positive.double(), negative.double())(negative.double(), 1.0)
    assert bool(torch.isfinite(moved).all())
    assert torch.allclose(moved.double(), wanted, atol=1e-3)


@pytest.mark.parametrize("counts", [(500, 500), (500, 300)])
def test_linact_matches_every_dimensions_moments(counts: tuple[int, int]) -> None:
    scale = draw(1, WIDTH).abs() + 0.5
    positive = draw(2, counts[0], WIDTH) * scale + 3
    negative = draw(3, counts[1], WIDTH) - 1
    moved = fit_steerer("linact", positive, negative)(negative, 1.0)
    assert torch.allclose(moved.mean(dim=0), positive.mean(dim=0), atol=1e-4)
    assert torch.allclose(moved.std(dim=0), positive.std(dim=0), rtol=0.03)


def test_linact_is_least_squares_on_sorted_samples() -> None:
    positive, negative = gaussian(1, 50, 1.0).double(), gaussian(5, 50, 0.0).double()
    steerer = fit_steerer("linact", positive, negative)
    x = points(0, 5, width=WIDTH).double()
    for column in range(WIDTH):
        s, t = negative[:, column].sort().values, positive[:, column].sort().values
        design = torch.stack([s, torch.ones(50, dtype=torch.float64)], dim=1)
        slope, offset = torch.linalg.lstsq(design, t[:, None]).solution[:, 0]
        wanted = slope * x[:, column] + offset
        assert torch.allclose(steerer(x, 1.0)[:, column], wanted, atol=1e-4)


def test_linacts_support() -> None:
    positive, negative = separated()
    steerer = fit_steerer("linact", positive, negative, support=True)
    x = negative[:3].clone()
    x[:, 2] = negative[:, 2].max() + 1
    moved = steerer(x, 1.0)
    assert torch.equal(moved[:, 2], x[:, 2])
    whole = fit_steerer("linact", positive, negative)(x, 1.0)
    rest = [i for i in range(WIDTH) if i != 2]
    assert torch.allclose(moved[:, rest], whole[:, rest], atol=1e-5)


def test_linact_refuses_a_constant_dimension() -> None:
    positive, negative = separated(20)
    negative[:, 5] = 2.0
    with pytest.raises(FitError, match=r"1 dimensions .* \(the first is 5\)"):
        fit_steerer("linact", positive, negative)


@given(count=st.integers(1, 40), seed=st.integers(0, 9))
def test_quantiles_are_sorted_and_within_the_range(count: int, seed: int) -> None:
    rows = draw(seed, 12, 3)
    result = quantiles(rows, count)
    assert result.shape == (count, 3)
    assert (result.diff(dim=0) >= 0).all()
    assert (result >= rows.amin(dim=0)).all()
    assert (result <= rows.amax(dim=0)).all()
    assert torch.equal(quantiles(rows, 12), rows.sort(dim=0).values)


def test_repe_finds_the_direction_that_flips_keep() -> None:
    """A mean shift with little else: plain centring removes it, random flips keep it."""
    shift = torch.zeros(WIDTH)
    shift[4] = 3.0
    negative = draw(1, 200, WIDTH)
    positive = negative + shift + 0.2 * draw(2, 200, WIDTH)
    vector = fit_steerer("repe", positive, negative).tensors()["vector"]
    assert float(vector[4]) > 0.99
    plain = fit_steerer("repe", positive, negative, flip=False).tensors()["vector"]
    assert abs(float(plain[4])) < 0.9


def test_iti_scale() -> None:
    positive, negative = separated()
    unit = fit_steerer("iti", positive, negative).tensors()["vector"]
    sigma = fit_steerer("iti", positive, negative, scale="sigma").tensors()["vector"]
    assert float(unit.norm()) == pytest.approx(1.0, abs=1e-5)
    spread = (torch.cat([positive, negative]) @ unit).std()
    assert torch.allclose(sigma, unit * spread, atol=1e-4)


def test_iti_heads_chooses_the_heads_that_tell_the_classes_apart() -> None:
    telling = {Site(0, 2), Site(1, 1)}
    positive, negative = {}, {}
    for number, site in enumerate(Site(layer, head) for layer in (0, 1) for head in range(4)):
        gap = 3.0 if site in telling else 0.0
        positive[site] = draw(number, 100, 8) + gap / 2
        negative[site] = draw(100 + number, 100, 8) - gap / 2
    method = get_method("iti_heads")
    data = ContrastData(positive, negative)
    result = method.fit(data, method.options({"heads": 2}), 0)
    assert set(result) == telling
    for site, steerer in result.items():
        vector = steerer.tensors()["vector"]
        mean = positive[site].mean(dim=0) - negative[site].mean(dim=0)
        both = torch.cat([positive[site], negative[site]])
        assert torch.allclose(vector / vector.norm(), mean / mean.norm(), atol=1e-5)
        assert float(vector.norm()) == pytest.approx(
            float((both @ (mean / mean.norm())).std()), rel=1e-4
        )


def test_iti_heads_splits_by_question() -> None:
    """With many answers to a question, none of them is on both sides."""
    data = contrast_data(heads=True)
    from steereval.models.methods.iti_heads import split_by_question

    train_rows, held = split_by_question(data, 0.3, 0)
    assert data.positive_query is not None
    for row, left in zip(train_rows, held, strict=True):
        assert not {*data.positive_query[row].tolist()} & {*data.positive_query[left].tolist()}
    assert {*data.positive_query[held[0]].tolist()} == {*data.positive_query[held[1]].tolist()}


def test_ablation_leaves_nothing_along_the_direction() -> None:
    steerer = fit_steerer("ablate", *separated())
    assert isinstance(steerer, Ablation)
    x = points(0, 6, width=WIDTH)
    assert torch.allclose(steerer(x, 1.0) @ steerer.direction, torch.zeros(6), atol=1e-5)
    half = steerer(x, 0.5) @ steerer.direction
    assert torch.allclose(half, x @ steerer.direction / 2, atol=1e-5)


def test_angular_rotates_within_the_plane_by_degrees() -> None:
    steerer: Any = fit_steerer("angular", *separated())
    towards, aside = steerer.towards, steerer.aside
    assert abs(float(towards @ aside)) < 1e-5
    assert torch.allclose(steerer(aside[None], 90.0)[0], towards, atol=1e-5)
    assert torch.allclose(steerer(aside[None], 30.0)[0] @ towards, torch.tensor(0.5), atol=1e-5)
    x = points(0, 6, width=WIDTH)
    rest = x - (x @ towards)[:, None] * towards - (x @ aside)[:, None] * aside
    moved = steerer(x, 50.0)
    after = moved - (moved @ towards)[:, None] * towards - (moved @ aside)[:, None] * aside
    assert torch.allclose(rest, after, atol=1e-5)
    assert torch.allclose(steerer(x, 360.0), x, atol=1e-4)


@pytest.mark.parametrize("gate", ["probe", "cosine"])
def test_the_gate_opens_for_prompts_that_look_negative(gate: str) -> None:
    positive, negative = separated()
    steerer = fit_steerer("conditional", positive, negative, gate=gate)
    assert isinstance(steerer, GatedSteerer)
    assert float(steerer.opens(negative).float().mean()) > 0.9
    assert float(steerer.opens(positive).float().mean()) < 0.1
    x = torch.zeros(2, WIDTH)
    state = steerer.begin(torch.stack([positive[0], negative[0]]), ["a", "b"])
    moved = steerer.apply(x, 2.0, state)
    assert torch.equal(moved[0], x[0])
    assert torch.allclose(moved[1], steerer.inner(x[1:], 2.0)[0])


def test_the_gates_threshold_is_a_probability() -> None:
    positive, negative = separated(gap=0.5)
    shares = [
        float(
            fit_steerer("conditional", positive, negative, threshold=t)  # type: ignore[attr-defined]
            .opens(torch.cat([positive, negative])).float().mean()
        )
        for t in (0.1, 0.5, 0.9)
    ]  # fmt: skip
    assert shares[0] > shares[1] > shares[2]


def test_a_gate_before_a_method_that_decides_per_query() -> None:
    method = get_method("conditional")
    options = method.options({"method": "truthflow", "method_options": {"epochs": 1}})
    steerer = method.fit(contrast_data(), options, 0)[Site(3)]
    x = points(0, 5)
    moved = steer(steerer, x, 2.0)
    inner: Steerer = steerer.inner  # type: ignore[attr-defined]
    opened = steerer.opens(x)  # type: ignore[attr-defined]
    assert torch.equal(moved[~opened], x[~opened])
    assert torch.allclose(moved[opened], steer(inner, x, 2.0)[opened], atol=1e-5)


@pytest.mark.parametrize("inner", ["none", "conditional", "iti_heads"])
def test_what_cannot_stand_behind_a_gate(inner: str) -> None:
    with pytest.raises(InputError, match="cannot stand behind a gate"):
        get_method("conditional").options({"method": inner})


def test_options_of_the_method_behind_the_gate_are_checked() -> None:
    given_options = {"method": "odesteer", "method_options": {"stps": 3}}
    with pytest.raises(InputError, match=r"odesteer.*'stps'"):
        get_method("conditional").options(given_options)


@settings(max_examples=10)
@given(strength=st.floats(0.5, 5), negate=st.booleans())
def test_gradient_ascent_goes_as_far_as_odesteer(strength: float, negate: bool) -> None:
    positive, negative = separated()
    options = {"components": 128, "steps": 5}
    ascent = fit_steerer("gradient_ascent", positive, negative, **options)
    assert isinstance(ascent, GradientAscentSteerer)
    flow = fit_steerer("odesteer", positive, negative, **options)
    given_strength = -strength if negate else strength
    rows = ascent.reference
    lengths = [(s(rows, given_strength) - rows).norm(dim=1).mean() for s in (ascent, flow)]
    assert float(lengths[0] / lengths[1]) == pytest.approx(1, abs=1e-3)
    change = ascent.flow.barrier(ascent(rows, given_strength)) - ascent.flow.barrier(rows)
    assert bool((change < 0).all() if negate else (change > 0).all())


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    """A held-out loss that only rises: the first epoch is kept."""
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)

    def loss(rows: Tensor) -> Tensor:
        goal = 1.0 if network.training else -1.0
        return ((network.weight - goal) ** 2).mean() + 0 * rows.sum()

    options = TrainingOptions(50, 0.1, 10, held_out=0.5, patience=3)
    generator = torch.Generator().manual_seed(0)
    curves = train("x", network, split_rows(20, 0.5, generator), loss, options, generator)
    assert curves["best_epoch"] == 1
    assert curves["epochs"] == 4
    assert len(curves["held_out_loss"]) == 4
    assert float(network.weight) == pytest.approx(0.1, abs=0.01)


def test_training_that_diverges_is_reported() -> None:
    network = torch.nn.Linear(1, 1)
    options = TrainingOptions(5, 0.1, 10)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(FitError, match="training of x diverged in epoch 1"):
        train(
            "x", network, split_rows(20, 0.1, generator),
            lambda rows: network.weight.sum() * torch.nan, options, generator,
        )  # fmt: skip


def test_training_works_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        fit_steerer("hpr", *separated(40), epochs=1)


def test_reduced_budgets_are_named() -> None:
    method = get_method("re_control")
    assert method.reduced({}) == {}
    assert method.reduced({"epochs": 5, "hidden": 8192}) == {"epochs": (5, 100)}
    assert get_method("caa").reduced({}) == {}
    gated = {"method": "hpr", "method_options": {"epochs": 2}}
    assert get_method("conditional").reduced(gated) == {"epochs": (2, 5)}


def test_curves_are_saved(tmp_path: Any) -> None:
    from steereval.models.artefacts.artefact import Artefact, load_artefact, save_artefact

    steerer = fit_steerer("hpr", *separated(40), epochs=3)
    save_artefact(Artefact({SITE: steerer}, {}), tmp_path / "kept")
    loaded: Any = load_artefact(tmp_path / "kept").steerers[SITE]
    assert loaded.training == steerer.training  # type: ignore[attr-defined]
    assert loaded.training["epochs"] == len(loaded.training["train_loss"]) == 3
    assert replace(loaded, scale=1.0).network[0].shape == (8, WIDTH)
