"""The laws of every steering method: a test kit for methods of other packages.

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_laws(law):
        law(MethodCase(MyMethod(), {"steps": 3}))

A law raises AssertionError, with a sentence, where a method breaks it. `docs/own-method.md` has a
complete example.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.artefacts.artefact import Artefact, load_artefact, save_artefact
from steereval.models.fitting.contrast_data import ContrastData
from steereval.models.methods.method import Method
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer

WIDTH = 24
SITE = Site(3)
STRENGTHS = (0.5, -0.7, 3.0, 20.0)


@dataclass(frozen=True)
class MethodCase:
    """A method with the options that it is tested with."""

    method: Method
    """The method."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its options; small ones make quick tests."""
    data_seed: int = 0
    """Names the data that it is fitted to."""

    def fit_all(self, seed: int = 0, data: ContrastData | None = None) -> dict[Site, Steerer]:
        """The steerers fitted to `data` (or to `contrast_data`) from `seed`."""
        given = data or contrast_data(self.data_seed, heads=self.method.reads == "heads")
        return self.method.fit(given, self.method.options(self.options), seed)

    def fit(self, seed: int = 0, data: ContrastData | None = None) -> Steerer:
        """The steerer of the first site."""
        return next(iter(self.fit_all(seed, data).values()))


@cache
def contrast_data(seed: int = 0, width: int = WIDTH, *, heads: bool = False) -> ContrastData:
    """Two overlapping Gaussians off the origin, with every part that a method may need.

    40 activations of each class in pairs, of 10 queries; every answer has three tokens. One site,
    or six heads of a block.
    """
    sites = [Site(SITE.layer, head) for head in range(6)] if heads else [SITE]
    parts = [_one_site(50 + seed + 100 * number, width) for number in range(len(sites))]
    rows = torch.arange(40)

    def by_site(name: str) -> Any:
        return {site: part[name] for site, part in zip(sites, parts, strict=True)}

    return ContrastData(
        by_site("positive"),
        by_site("negative"),
        pairs=torch.stack([rows, rows], dim=1),
        queries=by_site("queries"),
        positive_query=rows % 10,
        negative_query=rows % 10,
        positive_means=by_site("positive_means"),
        negative_means=by_site("negative_means"),
        trajectories=by_site("trajectories"),
        rewards=torch.cat([torch.ones(40), torch.zeros(40)]),
    )


def _one_site(seed: int, width: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    centre, shift = 2 * torch.randn(2, width, generator=generator)
    positive = torch.randn(40, width, generator=generator) + centre + shift / 4
    negative = torch.randn(40, width, generator=generator) + centre - shift / 4
    noise = torch.randn(80, 3, width, generator=generator)
    tokens = torch.cat([positive, negative])[:, None] + 0.3 * noise
    return {
        "positive": positive,
        "negative": negative,
        "queries": torch.randn(10, width, generator=generator) + centre,
        "positive_means": tokens[:40].mean(dim=1),
        "negative_means": tokens[40:].mean(dim=1),
        "trajectories": list(tokens),
    }


def points(seed: int, *shape: int, width: int = WIDTH) -> Tensor:
    """Activations [*shape, width] to steer, float32."""
    return 3 * torch.randn(*shape, width, generator=torch.Generator().manual_seed(seed))


def steer(steerer: Steerer, x: Tensor, strength: float) -> Tensor:
    """Steered x [..., d]; for steerers that decide per query every row is a query's prompt."""
    if not steerer.per_query:
        return steerer(x, strength)
    rows = x.reshape(-1, x.shape[-1])
    state = steerer.begin(rows, [f"row {index}" for index in range(len(rows))])
    moved = steerer.apply(rows, strength, state)
    return moved.reshape(x.shape)


def strength_zero_is_the_identity(case: MethodCase, seed: int = 0) -> None:
    """Bit for bit, in every dtype and for all activations."""
    steerer = case.fit()
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        x = points(seed, 3, 2).to(dtype)
        x[0, 0, 0], x[1, 0, 1] = torch.inf, -0.0
        unmoved = steer(steerer, x, 0.0)
        assert unmoved.dtype == dtype, f"{unmoved.dtype} came back for {dtype}"
        same = unmoved.view(torch.uint8).equal(x.view(torch.uint8))
        assert same, "strength 0 changed the activations"


def batch_order_and_shape_do_not_matter(case: MethodCase, seed: int = 0) -> None:
    """A row is steered alike alone, in a batch, in another order or shape."""
    steerer, x = case.fit(), points(seed, 6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    for strength in STRENGTHS:
        whole = steer(steerer, x, strength)
        slack = 1e-5 * float(whole.abs().max())
        ways = {
            "one by one": torch.stack([steer(steerer, row[None], strength)[0] for row in x]),
            "in another order": steer(steerer, x[order], strength)[order.argsort()],
            "in another shape": steer(steerer, x.view(2, 3, -1), strength).view(6, -1),
            "in chunks": torch.cat([steer(steerer, p, strength) for p in torch.split(x, 4)]),
        }
        for way, moved in ways.items():
            difference = float((moved - whole).abs().max())
            assert difference <= slack, f"{way} differs by {difference:g} at T = {strength:g}"


def dtypes_agree_within_their_precision(case: MethodCase, seed: int = 0) -> None:
    """Rounding the exact answer is all that a lower precision may do, and one place more."""
    steerer = case.fit()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for strength in STRENGTHS:
            x = points(seed, 4).to(dtype)
            exact = steer(steerer, x.double(), strength)
            moved = steer(steerer, x, strength)
            assert moved.dtype == dtype, f"{moved.dtype} came back for {dtype}"
            eps = 2 * torch.finfo(dtype).eps if dtype != torch.float32 else 2e-5
            slack = eps * max(float(exact.abs().max()), float(x.double().abs().max()))
            difference = float((moved.double() - exact).abs().max())
            assert difference <= slack, f"{dtype} differs by {difference:g} at T = {strength:g}"


def the_input_is_not_edited(case: MethodCase, seed: int = 0) -> None:
    """Steering returns a new tensor."""
    x = points(seed, 4)
    copy = x.clone()
    steer(case.fit(), x, 2.0)
    assert torch.equal(x, copy), "the activations were edited in place"


def steering_moves_something(case: MethodCase, seed: int = 0) -> None:
    """Strength 1 does not leave every activation where it was."""
    x = points(seed, 20)
    assert not torch.equal(steer(case.fit(), x, 1.0), x), "strength 1 did nothing"


def the_same_seed_gives_the_same_steerer(case: MethodCase, seed: int = 0) -> None:
    """From the seed given alone: global random states do not matter and are left alone."""
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    one = case.fit_all(seed)
    assert torch.equal(torch.get_rng_state(), before), "the global random state was used"
    torch.manual_seed(seed + 1)
    other = case.fit_all(seed)
    assert _same(one, other), "the steerers differ"
    settings = [steerer.settings() for steerer in one.values()]
    assert settings == [steerer.settings() for steerer in other.values()], "the settings differ"


def another_seed_matters_if_the_method_is_seeded(case: MethodCase, seed: int = 0) -> None:
    """And only then; `Method.seeded`, or `draws`, says which. One of ten seeds must matter."""
    first = case.fit_all(seed)
    same = all(_same(first, case.fit_all(seed + other)) for other in range(1, 11))
    drawn = case.method.draws(case.method.options(case.options))
    assert same == (not drawn), f"the method says {drawn}, but the steerers are the same: {same}"


def saving_and_loading_gives_the_same_bits(case: MethodCase, seed: int = 0) -> None:
    """Tensors, settings and what it does; the method must name its steerers in `kinds`."""
    steerer, x = case.fit(), points(seed, 5)
    assert type(steerer) in case.method.kinds, f"{type(steerer).__name__} is not in kinds"
    with tempfile.TemporaryDirectory() as folder:
        save_artefact(Artefact({SITE: steerer}, {}), Path(folder) / "kept")
        loaded = load_artefact(Path(folder) / "kept", case.method).steerers[SITE]
    assert loaded.settings() == steerer.settings(), "the settings differ"
    assert _same_tensors(loaded, steerer), "the tensors differ"
    assert torch.equal(steer(loaded, x, 2.5), steer(steerer, x, 2.5)), "it steers differently"


def the_norm_is_kept_where_the_steerer_says_so(case: MethodCase, seed: int = 0) -> None:
    """`Steerer.keeps_norm`."""
    steerer, x = case.fit(), points(seed, 8).double()
    for strength in STRENGTHS if steerer.keeps_norm else ():
        moved = steer(steerer, x, strength)
        assert torch.allclose(moved.norm(dim=1), x.norm(dim=1), rtol=1e-5), "the norm changed"


def a_relative_strength_is_a_share_of_the_norm(case: MethodCase, seed: int = 0) -> None:
    """Where there are relative strengths, r displaces by about r median norms."""
    steerer = case.fit()
    has_scale = steerer.strength_of_one_norm() is not None
    claimed = case.method.has_relative_strengths(case.method.options(case.options))
    assert claimed == (has_scale and case.method.fits), "the method and its steerer disagree"
    if not has_scale:
        return
    data = contrast_data(case.data_seed, heads=case.method.reads == "heads")
    x = torch.cat([data.positive[data.sites[0]], data.negative[data.sites[0]]]).double()
    goal = 0.01 * float(x.norm(dim=1).median())
    moved = steer(steerer, x, steerer.absolute_strength(0.01, "relative")) - x
    lengths = moved.norm(dim=1)
    share = float(lengths[lengths > 0].mean())
    assert abs(share / goal - 1) < 0.05, (
        f"a relative strength of 0.01 moved {share:g}, not {goal:g}"
    )


def a_zero_vector_gives_no_nan(case: MethodCase, seed: int = 0) -> None:
    """Directions of a zero vector do not exist; steering it must still be finite."""
    moved = steer(case.fit(seed), torch.zeros(2, WIDTH), 3.0)
    assert bool(torch.isfinite(moved).all()), "a zero vector became not finite"


def few_samples_are_fitted_or_refused(case: MethodCase, seed: int = 0) -> None:
    """Fewer samples than dimensions: a finite steerer, or a FitError; never a NaN."""
    for count in (1, 5):
        try:
            steerer = case.fit(
                seed,
                _first(contrast_data(case.data_seed, heads=case.method.reads == "heads"), count),
            )
        except FitError:
            continue
        moved = steer(steerer, points(seed, 4), 3.0)
        assert bool(torch.isfinite(moved).all()), f"{count} samples gave activations not finite"


def _first(data: ContrastData, count: int) -> ContrastData:
    """The first `count` activations of each class, each an answer to a query of its own."""
    site = data.sites[0]
    assert data.queries is not None
    assert data.positive_means is not None
    assert data.negative_means is not None
    assert data.trajectories is not None
    rows = torch.arange(count)
    answers = data.trajectories[site]
    return ContrastData(
        {site: data.positive[site][:count]},
        {site: data.negative[site][:count]},
        pairs=torch.stack([rows, rows], dim=1),
        queries={site: data.queries[site][:count]},
        positive_query=rows,
        negative_query=rows,
        positive_means={site: data.positive_means[site][:count]},
        negative_means={site: data.negative_means[site][:count]},
        trajectories={site: [*answers[:count], *answers[40 : 40 + count]]},
        rewards=torch.cat([torch.ones(count), torch.zeros(count)]),
    )


def _same(one: Mapping[Site, Steerer], other: Mapping[Site, Steerer]) -> bool:
    return one.keys() == other.keys() and all(
        _same_tensors(steerer, other[site]) for site, steerer in one.items()
    )


def _same_tensors(one: Steerer, other: Steerer) -> bool:
    first, second = one.tensors(), other.tensors()
    return first.keys() == second.keys() and all(
        tensor.shape == second[name].shape and torch.equal(tensor, second[name])
        for name, tensor in first.items()
    )


Law = Callable[[MethodCase], None]

LAWS: tuple[Law, ...] = (
    strength_zero_is_the_identity,
    batch_order_and_shape_do_not_matter,
    dtypes_agree_within_their_precision,
    the_input_is_not_edited,
    steering_moves_something,
    the_same_seed_gives_the_same_steerer,
    another_seed_matters_if_the_method_is_seeded,
    saving_and_loading_gives_the_same_bits,
    the_norm_is_kept_where_the_steerer_says_so,
    a_relative_strength_is_a_share_of_the_norm,
    a_zero_vector_gives_no_nan,
    few_samples_are_fitted_or_refused,
)
"""Checks that every method must pass."""
