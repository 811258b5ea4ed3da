"""Upper blocks from kept states give what a whole pass gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from steereval.models.hooks import Intervention, steered
from steereval.models.likelihood import Scorer
from steereval.models.lower_blocks import LowerBlocks, lowest_block, supports_skipping
from steereval.models.methods.caa import ConstantShift
from steereval.models.packing import Request
from steereval.models.sites import Site, find_blocks

SHIFT = ConstantShift(torch.linspace(-1, 1, 32), dimension=32)
STEM = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
ABLE = ("llama", "qwen2", "gpt-neox", "gpt2", "phi", "mixtral")


def intervention(strength: float, layer: int = 1) -> Intervention:
    return Intervention({Site(layer): SHIFT}, strength)


def requests() -> list[Request]:
    contexts = [(*STEM, 20), (*STEM, 21, 22)]
    answers = [(30, 31), (32,), (33, 34, 35)]
    return [Request(c, a, 0, len(c) - 1, None) for c in contexts for a in answers]


def scores(model: Any, strength: float, lower: LowerBlocks | None, stem: bool) -> list[float]:
    asked = requests() if stem else [*requests(), Request((3, 4), (5, 6), 0, 1, None)]
    with steered(model, [intervention(strength)]) as session:
        scorer = Scorer(model, session, lower=lower)
        return [score.log_likelihood for score in scorer.shared(asked, lambda _: None)]


@pytest.mark.parametrize("stem", [True, False], ids=["after a stem", "alone"])
@pytest.mark.parametrize("architecture", ABLE)
def test_kept_states_change_nothing(
    tiny: Callable[[str], Any], architecture: str, stem: bool
) -> None:
    model = tiny(architecture)
    assert supports_skipping(model)
    lower = LowerBlocks(model)
    for strength in (1.0, -2.0, 5.0):
        fresh = scores(model, strength, None, stem)
        assert scores(model, strength, lower, stem) == pytest.approx(fresh, abs=1e-5)
    assert len(lower.kept) == 1


def test_lower_blocks_do_not_run_again(tiny: Callable[[str], Any]) -> None:
    model = tiny("llama")
    lower = LowerBlocks(model)
    scores(model, 1.0, lower, stem=False)
    passes = {0: 0, 2: 0}
    handles = [
        find_blocks(model)[index].self_attn.register_forward_hook(
            lambda *_, index=index: passes.__setitem__(index, passes[index] + 1)
        )
        for index in passes
    ]
    scores(model, 2.0, lower, stem=False)
    for handle in handles:
        handle.remove()
    assert passes == {0: 0, 2: 1}
    assert all("forward" not in vars(block) for block in find_blocks(model))


def test_blocks_are_whole_again_after_an_error(tiny: Callable[[str], Any]) -> None:
    model = tiny("llama")
    lower = LowerBlocks(model)
    scores(model, 1.0, lower, stem=False)
    (key,) = lower.kept
    with pytest.raises(RuntimeError, match="broken"), lower.shared(1, key):
        raise RuntimeError("broken")
    assert all("forward" not in vars(block) for block in find_blocks(model))


def test_only_what_is_below_every_change_is_shared() -> None:
    assert lowest_block([]) is None
    assert lowest_block([intervention(0)]) is None
    assert lowest_block([intervention(1, 2), intervention(1, 1)]) == 1
    assert lowest_block([Intervention({Site(2, 1): SHIFT}, 1)]) == 1
    assert lowest_block([Intervention({Site(0, 1): SHIFT}, 1)]) is None


def test_memory_is_bounded(tiny: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from steereval.models import lower_blocks

    monkeypatch.setattr(lower_blocks, "KEPT_BYTES", 1)
    lower = LowerBlocks(tiny("llama"))
    scores(lower.model, 1.0, lower, stem=True)
    assert not lower.kept


def test_models_that_pass_more_between_blocks_are_left_alone(tiny: Callable[[str], Any]) -> None:
    model = tiny("llama")
    block = find_blocks(model)[0]
    block._hf_hook = object()
    try:
        assert not supports_skipping(model)
    finally:
        del block._hf_hook
