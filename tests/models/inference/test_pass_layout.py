"""The passes that are counted beforehand are those that are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steereval.models.inference import pass_layout
from steereval.models.inference.likelihood import Scorer
from steereval.models.inference.lower_blocks import LowerBlocks
from steereval.models.inference.pass_layout import Layout, TokensFed
from steereval.models.inference.prefix_tree import Request
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions

LAYER = 1
token_lists = st.lists(st.integers(3, 6), min_size=1, max_size=6).map(tuple)


def counted(model: Any, requests: Sequence[Request], kinds: int) -> TokensFed:
    """Tokens that the lowest and the highest block and the output layer really see."""
    seen = {"below": 0, "above": 0, "predicted": 0}
    blocks = find_blocks(model)
    places = {"below": blocks[0].mlp, "above": blocks[-1].mlp, "predicted": model.lm_head}
    handles = [
        module.register_forward_hook(
            lambda m, args, output, name=name: seen.update({name: seen[name] + output.shape[1]})
        )
        for name, module in places.items()
    ]
    steerers = [ConstantShift(torch.ones(32) * kind, dimension=32) for kind in range(kinds)]
    acting = [Intervention({Site(LAYER): steerer}, 1.0) for steerer in steerers]
    try:
        with steered(model, acting) as session:
            scorer = Scorer(model, session, None, LowerBlocks(model))
            scorer.shared(requests, lambda _: None)
    finally:
        for handle in handles:
            handle.remove()
    return TokensFed(**seen)


@pytest.mark.parametrize("rule", ["generated", "all", "-2:"])
@pytest.mark.parametrize("stem", [1, 999])
@settings(max_examples=20)
@given(
    texts=st.lists(st.tuples(token_lists, token_lists), min_size=1, max_size=5),
    budget=st.sampled_from([4, 320]),
)
def test_as_many_tokens_are_fed_as_were_counted(
    tiny: Any, rule: str, stem: int, texts: Any, budget: int
) -> None:
    model = tiny("llama")
    requests = [
        Request(c, k, kind, *Positions(rule).interval(len(c), 0))
        for c, k in texts
        for kind in (0, 1)
    ]
    with (
        mock.patch.dict(pass_layout.ROW_TOKENS, cpu=budget),
        mock.patch.object(pass_layout, "LEAST_SHARED_TOKENS", stem),
    ):
        plan = Layout(list(dict.fromkeys(requests)), budget)
        result, seen = plan.fed(), counted(model, requests, 2)
    # The stem's pass predicts its last token, since a model must be asked for some.
    assert seen.predicted - result.predicted == bool(plan.shared_prefix)
    assert (seen.below, seen.above) == (result.below, result.above)


def test_methods_share_what_they_do_not_change() -> None:
    """Two answers of three tokens to a prompt of four, under five interventions: the first three
    tokens are never changed, the last of the prompt and what is fed of the answers are."""
    texts = [((5, 6, 7, 8), (9, 10, 11)), ((5, 6, 7, 8), (9, 12, 13))]
    requests = [Request(c, k, kind, 3, None) for c, k in texts for kind in range(5)]
    assert Layout(requests, 320).fed() == TokensFed(4 + 1 + 2, 3 + 5 * (1 + 1 + 2), 5 * (1 + 1 + 2))
