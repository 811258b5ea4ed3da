"""States of last tokens: the same packed, batched or one at a time."""

from __future__ import annotations

from copy import deepcopy
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steereval.common.errors import FitError, ModelError
from steereval.models.inference import extraction, pass_layout
from steereval.models.inference.extraction import last_token_states
from steereval.models.inference.likelihood import supports_sharing
from steereval.models.steering.hook_points import Site
from steereval.models.steering.hook_targets import reading

tokens = st.integers(3, 7)
texts = st.lists(st.lists(tokens, min_size=1, max_size=9), min_size=1, max_size=8)
SITES = [Site(0), Site(1), Site(2)]


def one_by_one(model: Any, given_texts: list[list[int]], sites: list[Site]) -> dict[Site, Tensor]:
    """Each text in a pass of its own, read by a hook on every site."""
    rows: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for text in given_texts:
        for site in sites:
            with reading(model, [site]) as run:
                rows[site].append(run(input_ids=torch.tensor([text]))[site][0, -1])
    return {site: torch.stack(row) for site, row in rows.items()}


@settings(max_examples=5)
@given(texts=texts, budget=st.sampled_from([6, 1024]))
def test_packed_is_batched_is_one_at_a_time(
    any_model: Any, texts: list[list[int]], budget: int
) -> None:
    wanted = one_by_one(any_model, texts, SITES)
    with (
        mock.patch.object(extraction, "BATCH_TOKENS", budget),
        mock.patch.dict(pass_layout.ROW_TOKENS, cpu=budget),
    ):
        ways = [False, True] if supports_sharing(any_model, 1e-4) else [False]
        for share in ways:
            activations = last_token_states(any_model, texts, SITES, share)
            for site in SITES:
                apart = (activations[site] - wanted[site]).abs().amax(dim=1)
                # Recurrent models amplify rounding with the states, whose norms here reach 200.
                assert (apart <= 3e-5 * wanted[site].norm(dim=1).clamp(min=1.0)).all()


def test_head_sites(tiny: Any) -> None:
    model = tiny("llama")
    sites = [Site(1, 0), Site(1, 3), Site(1)]
    given_texts = [[5, 6, 7], [5, 6], [9]]
    wanted = one_by_one(model, given_texts, sites)
    for share in (False, True):
        activations = last_token_states(model, given_texts, sites, share)
        assert activations[Site(1, 3)].shape == (3, 8)
        for site in sites:
            assert torch.allclose(activations[site], wanted[site], atol=1e-5)


@pytest.mark.parametrize("share", [False, True])
def test_one_pass_for_several_sites(tiny: Any, share: bool) -> None:
    """And no token that texts share is computed twice when they are packed."""
    model = tiny("llama")
    fed: list[int] = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    last_token_states(model, [[5, 6, 7, 8], [5, 6, 7, 9], [5, 6]], SITES, share)
    handle.remove()
    assert fed == ([5] if share else [12])


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_states_are_float32(tiny: Any, dtype: torch.dtype, share: bool) -> None:
    model = deepcopy(tiny("llama")).to(dtype)
    activations = last_token_states(model, [[5, 6], [7, 8, 9]], SITES, share)
    exact = last_token_states(tiny("llama"), [[5, 6], [7, 8, 9]], SITES, share)
    for site in SITES:
        assert activations[site].dtype == torch.float32
        assert activations[site].device.type == "cpu"
        assert torch.equal(activations[site], activations[site].to(dtype).float())
        assert torch.allclose(activations[site], exact[site], atol=0.3, rtol=0.1)


@pytest.mark.parametrize("share", [False, True])
def test_a_model_that_overflows(tiny: Any, share: bool) -> None:
    model = deepcopy(tiny("llama"))
    model.model.layers[1].mlp.down_proj.weight.fill_(torch.nan)
    last_token_states(model, [[5, 6]], [Site(0)], share)
    with pytest.raises(FitError, match="activations at layer 1 are not finite"):
        last_token_states(model, [[5, 6]], [Site(0), Site(1)], share)


def test_empty_text(tiny: Any) -> None:
    with pytest.raises(FitError, match="no tokens"):
        last_token_states(tiny("llama"), [[5], []], SITES)


def test_site_that_does_not_exist(tiny: Any, count_hooks: Any) -> None:
    with pytest.raises(ModelError, match="layer 3"):
        last_token_states(tiny("llama"), [[5]], [Site(0), Site(3)])
    assert count_hooks(tiny("llama")) == 0


def test_the_states_keep_no_graph(tiny: Any) -> None:
    model = deepcopy(tiny("llama")).requires_grad_(True)
    activations = last_token_states(model, [[5, 6]], SITES)
    assert not any(states.requires_grad for states in activations.values())
