"""Sampling by keyed Gumbel noise: the right distribution, and the same for a row wherever it is."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from steereval.common.errors import CellError
from steereval.models.inference.sampling import Finite, GumbelSampler, gumbel, samples

IDS = torch.zeros(1, 1, dtype=torch.long)
LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0, -30.0])


def draws(options: dict[str, Any], count: int = 4000) -> torch.Tensor:
    """How often each token is drawn."""
    sampler = GumbelSampler([f"key {index}" for index in range(count)], options)
    chosen = sampler(IDS.expand(count, 1), LOGITS.expand(count, -1).clone()).argmax(dim=-1)
    return torch.bincount(chosen, minlength=len(LOGITS))


@pytest.mark.parametrize("temperature", [None, 0.5, 1.0, 2.0])
def test_the_distribution_is_the_softmax(temperature: float | None) -> None:
    counts = draws({"do_sample": True, "temperature": temperature})[:5]
    expected = (LOGITS / (temperature or 1.0)).softmax(dim=0)[:5].double()
    expected = expected / expected.sum() * counts.sum()
    assert chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-4


def test_top_k_and_top_p_cut_the_tail() -> None:
    assert (draws({"top_k": 2}) > 0).tolist() == [True, True, False, False, False, False]
    shares = LOGITS.softmax(dim=0).cumsum(dim=0)
    assert shares[1] < 0.9 < shares[2]
    assert (draws({"top_p": 0.9}) > 0).tolist() == [True, True, True, False, False, False]


@pytest.mark.slow
def test_steps_are_independent() -> None:
    sampler = GumbelSampler(["a"], {})
    chosen = [int(sampler(IDS, torch.zeros(1, 8)).argmax()) for _ in range(4000)]
    pairs = torch.zeros(8, 8)
    for one, other in itertools.pairwise(chosen):
        pairs[one, other] += 1
    assert chisquare(pairs.flatten().numpy()).pvalue > 1e-4


def test_the_noise_is_gumbels_over_all_tokens_and_names() -> None:
    noise = gumbel([f"item {index}" for index in range(64)], 4096, torch.device("cpu")).double()
    assert kstest(noise.flatten().numpy(), "gumbel_r").pvalue > 1e-3
    assert kstest(noise.amax(dim=1).numpy(), "gumbel_r", (math.log(4096), 1)).pvalue > 1e-3
    assert noise.isfinite().all()
    ranks = noise.exp().neg().exp()  # uniform
    for one, other in ((ranks[:, 1:], ranks[:, :-1]), (ranks[1:], ranks[:-1])):
        stacked = torch.stack([one.flatten(), other.flatten()])
        assert abs(float(torch.corrcoef(stacked)[0, 1])) < 4 / math.sqrt(stacked.shape[1])


def test_the_noise_of_version_1_is_golden() -> None:
    """Sampled texts of finished runs rest on it."""
    noise = gumbel(["0 item 0"], 3, torch.device("cpu"))
    assert noise[0].tolist() == pytest.approx(GOLDEN, abs=1e-6)


GOLDEN = [-0.524352, 0.392679, -0.219337]


@settings(max_examples=30)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), st.integers(1, 4))
def test_a_row_is_the_same_in_every_batch(keys: list[str], steps: int) -> None:
    together = GumbelSampler(keys, {"temperature": 0.7})
    alone = [GumbelSampler([key], {"temperature": 0.7}) for key in keys]
    for _ in range(steps):
        rows = together(IDS.expand(len(keys), 1), LOGITS.expand(len(keys), -1).clone())
        for row, sampler in zip(rows, alone, strict=True):
            assert torch.equal(row, sampler(IDS, LOGITS[None].clone())[0])


def test_when_generation_is_random() -> None:
    assert samples({"do_sample": True})
    assert samples({"temperature": 0.7})
    assert not samples({"do_sample": False, "temperature": 0.7})
    assert not samples({"temperature": 0.0})
    assert not samples({})


@pytest.mark.parametrize("options", [{"num_beams": 4}, {"min_p": 0.1}, {"typical_p": 0.5}])
def test_other_ways_of_sampling_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(CellError, match=next(iter(options))):
        GumbelSampler(["a"], options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_numbers_choose_nothing(bad: float) -> None:
    """Words that a processor forbids are minus infinity, and that is well."""
    scores = torch.zeros(2, 5)
    scores[0, 3] = float("-inf")
    assert Finite()(torch.zeros(2, 1), scores) is scores
    scores[1, 2] = bad
    with pytest.raises(CellError, match="scores of the next token are not finite"):
        Finite()(torch.zeros(2, 1), scores)
