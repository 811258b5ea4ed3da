"""Blocks below the steering run once, and nobody can tell from the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steereval.models.inference.likelihood import Scorer, supports_sharing
from steereval.models.inference.lower_blocks import LowerBlocks, lowest_block, supports_skipping
from steereval.models.inference.prefix_tree import Request
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.steering.hook_points import Site, find_blocks, head_width, output_projection
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions

TEXTS = [((5, 6, 7, 8), (9, 10)), ((5, 6, 7, 11), (9,)), ((5, 6), (7, 3, 4)), ((20, 21), (22,))]
SHARE_AND_SKIP = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt-neox", "gpt2",
                  "opt", "phi", "mixtral", "qwen2-moe")  # fmt: skip
STEM = tuple(range(30, 45))
tokens = st.lists(st.integers(3, 6), min_size=1, max_size=5).map(tuple)


@pytest.fixture
def model(tiny: Any, count_hooks: Any) -> Iterator[Any]:
    """A Llama whose blocks must be untouched afterwards."""
    result = tiny("llama")
    yield result
    assert count_hooks(result) == 0
    assert not any("forward" in vars(block) for block in find_blocks(result))


def shift(site: Site, strength: float, seed: int = 0, head: int = 8) -> Intervention:
    """A constant vector at a block's output, or at a head of width `head`."""
    width = 32 if site.head is None else head
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return Intervention({site: ConstantShift(vector, dimension=width)}, strength)


def scores(
    model: Any,
    intervention: Intervention,
    lower: LowerBlocks | None,
    texts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]] = TEXTS,
    rule: str = "generated",
) -> list[float]:
    requests = [Request(c, k, 0, *Positions(rule).interval(len(c), 0)) for c, k in texts]
    with steered(model, [intervention]) as session:
        result = Scorer(model, session, None, lower).shared(requests, lambda _: None)
    return [score.log_likelihood for score in result]


def with_stem(texts: Sequence[Any]) -> list[Any]:
    return [((*STEM, *context), continuation) for context, continuation in texts]


@pytest.mark.parametrize("rule", ["generated", "all", "continuation"])
@pytest.mark.parametrize("texts", [TEXTS, with_stem(TEXTS)], ids=["alone", "after a stem"])
@pytest.mark.parametrize("name", SHARE_AND_SKIP)
def test_answers_are_the_same(tiny: Any, name: str, texts: Any, rule: str) -> None:
    """Several cells in turn: other strengths, vectors and layers, and a head."""
    any_model = tiny(name)
    assert supports_sharing(any_model, 1e-4)
    assert supports_skipping(any_model)
    lower = LowerBlocks(any_model)
    head = head_width(any_model, output_projection(find_blocks(any_model)[2]))
    cells = [
        shift(Site(1), 0.0),
        shift(Site(1), 3.0),
        shift(Site(1), -5.0, seed=1),
        shift(Site(2), 3.0),
        shift(Site(2, 1), 30.0, head=head),
        shift(Site(0), 3.0),
        shift(Site(1), 3.0),
    ]
    for cell in cells:
        wanted = scores(any_model, cell, None, texts, rule)
        assert scores(any_model, cell, lower, texts, rule) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    sets=st.lists(
        st.lists(st.tuples(tokens, tokens), min_size=1, max_size=4), min_size=2, max_size=4
    ),
    stem=st.booleans(),
)
def test_other_texts_are_distinguished(tiny: Any, sets: list[list[Any]], stem: bool) -> None:
    """One store for many sets of requests that look alike."""
    lower = LowerBlocks(tiny("llama"))
    for texts in sets:
        chosen = with_stem(texts) if stem else texts
        for strength in (2.0, 4.0):
            cell = shift(Site(1), strength)
            wanted = scores(tiny("llama"), cell, None, chosen)
            assert scores(tiny("llama"), cell, lower, chosen) == pytest.approx(wanted, abs=1e-4)


def test_stems_of_one_length_are_distinguished(tiny: Any) -> None:
    """The tokens after the stem are the same, at the same positions."""
    lower = LowerBlocks(tiny("llama"))
    for first in (30, 50):
        texts = [((*range(first, first + 15), *c), k) for c, k in TEXTS]
        wanted = scores(tiny("llama"), shift(Site(1), 2.0), None, texts)
        result = scores(tiny("llama"), shift(Site(1), 2.0), lower, texts)
        assert result == pytest.approx(wanted, abs=1e-4)


def counted(model: Any, run: Any) -> list[int]:
    """How often each block's attention ran."""
    calls = [0, 0, 0]
    handles = []
    for index, block in enumerate(find_blocks(model)):

        def count(*_: Any, index: int = index) -> None:
            calls[index] += 1

        handles.append(block.self_attn.register_forward_hook(count))
    run()
    for handle in handles:
        handle.remove()
    return calls


def test_many_interventions_share_the_lower_blocks(model: Any) -> None:
    """Below the steering every text once, whatever acts above; there, contexts once."""
    cells = [shift(Site(1), strength, seed) for seed, strength in enumerate((2.0, -3.0, 5.0))]
    interval = Positions("generated").interval
    requests = [
        Request(c, k, i, *(interval(len(c), 0) if i >= 0 else (0, 0)))
        for c, k in with_stem(TEXTS)
        for i in range(-1, 3)
    ]
    seen: dict[int, int] = {0: 0, 2: 0}
    handles = [
        find_blocks(model)[index].self_attn.register_forward_pre_hook(
            lambda _, __, inputs, index=index: seen.update(
                {index: seen[index] + inputs["hidden_states"].shape[1]}
            ),
            with_kwargs=True,
        )
        for index in seen
    ]
    with steered(model, cells) as session:
        result = Scorer(model, session, None, LowerBlocks(model)).shared(requests, lambda _: None)
    for handle in handles:
        handle.remove()
    for index in range(-1, 3):
        cell = cells[index] if index >= 0 else shift(Site(1), 0.0)
        values = [s.log_likelihood for s, r in zip(result, requests, strict=True)
               if r.intervention == index]  # fmt: skip
        assert values == pytest.approx(scores(model, cell, None, with_stem(TEXTS)), abs=1e-4)
    # TEXTS as a tree, after the stem of 15: 5 6 7 8 9, below the 7 also 11 and 3, and 20 21.
    assert seen[0] == 15 + 9
    # Above, what is steered is there once for each of three, and all of it once unsteered.
    steered_tokens = 2 + 1 + 3 + 1
    assert seen[2] == 15 + 9 + 3 * steered_tokens


def test_lower_blocks_run_once(model: Any) -> None:
    lower = LowerBlocks(model)
    assert counted(model, lambda: scores(model, shift(Site(1), 2.0), lower)) == [1, 1, 1]
    assert counted(model, lambda: scores(model, shift(Site(1), 3.0, seed=2), lower)) == [0, 0, 1]
    assert counted(model, lambda: scores(model, shift(Site(2, 3), 3.0), lower)) == [0, 0, 1]
    assert counted(model, lambda: scores(model, shift(Site(2), 3.0), lower)) == [1, 1, 1]
    assert counted(model, lambda: scores(model, shift(Site(2), 4.0), lower)) == [0, 0, 0]


def test_the_steered_states_are_not_what_is_kept(model: Any) -> None:
    """What is kept left the block before the steering, whoever filled the store."""
    one, other = LowerBlocks(model), LowerBlocks(model)
    scores(model, shift(Site(1), 9.0), one)
    scores(model, shift(Site(1), -9.0, seed=3), other)
    assert one.cached.keys() == other.cached.keys()
    for key, states in one.cached.items():
        assert torch.equal(states, other.cached[key])


def test_several_sites_start_at_the_lowest(model: Any) -> None:
    vectors = {Site(1): torch.ones(32), Site(2): torch.ones(32)}
    steerers = {site: ConstantShift(v, dimension=32) for site, v in vectors.items()}
    cells = [Intervention(steerers, 2.0), Intervention(steerers, 3.0)]
    lower = LowerBlocks(model)
    for cell in cells:
        wanted = scores(model, cell, None)
        assert scores(model, cell, lower) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("sites", "wanted"),
    [
        ([Site(2)], 2),
        ([Site(0)], 0),
        ([Site(2), Site(1)], 1),
        ([Site(2, 3)], 1),
        ([Site(1, 0), Site(1)], 0),
        ([Site(0, 1)], None),
        ([], None),
    ],
)
def test_lowest_block(sites: list[Site], wanted: int | None) -> None:
    acting = [shift(site, 1.0) for site in sites]
    assert lowest_block(acting) == wanted
    assert lowest_block([*acting, shift(Site(0), 0.0)]) == wanted


def test_memory_is_bounded(model: Any) -> None:
    """Least recently used goes first; what does not fit at all is not kept."""
    size = 4 * 32 * 3
    lower = LowerBlocks(model, limit=2 * size)
    ids = torch.tensor([[5, 6, 7]])

    def run(key: bytes, rows: int = 1) -> list[int]:
        whole = ids.repeat(1, rows)
        return counted(model, lambda: lower.states(1, key, lambda: model(input_ids=whole)))

    assert run(b"a") == run(b"b") == [1, 1, 0]
    assert run(b"a") == [0, 0, 0]
    assert run(b"c") == [1, 1, 0]
    assert run(b"a") == [0, 0, 0]
    assert run(b"b") == [1, 1, 0]
    assert run(b"large", rows=3) == [1, 1, 0]
    assert b"large" not in lower.cached


def test_blocks_are_whole_again_after_an_error(model: Any) -> None:
    lower = LowerBlocks(model)
    ids = torch.tensor([[5, 6, 7]])
    wanted = model(input_ids=ids).logits

    def failing() -> None:
        states = lower.states(1, b"a", lambda: model(input_ids=ids))
        with lower.resumed(1, states):
            model(input_ids=ids)
            raise KeyError("anything")

    def failing_below() -> None:
        lower.states(1, b"b", lambda: model(input_ids=ids + 1_000_000))

    for _ in range(2):
        with pytest.raises(KeyError):
            failing()
        with pytest.raises(IndexError):
            failing_below()
    assert torch.equal(model(input_ids=ids).logits, wanted)


def test_a_model_that_passes_more_between_blocks_is_refused() -> None:
    """Blocks whose output is not their states alone."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.Linear(4, 4)

        def forward(self, pair: Any) -> Any:
            return self.attention(pair[0]), pair[1] + 1

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(10, 4)
            self.layers = torch.nn.ModuleList(Block() for _ in range(3))

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.embedding

        def forward(self, input_ids: Any, use_cache: bool) -> Any:
            from types import SimpleNamespace

            pair = (self.embedding(input_ids), torch.zeros(1))
            for layer in self.layers:
                pair = layer(pair)
            return SimpleNamespace(logits=pair[0] + pair[1])

    assert not supports_skipping(Model())


def test_blocks_that_move_between_devices_are_refused(tiny: Any) -> None:
    block = find_blocks(tiny("llama"))[0]
    block._hf_hook = object()  # as accelerate leaves it
    try:
        assert not supports_skipping(tiny("llama"))
    finally:
        del block._hf_hook


def test_which_models_skip(architecture: str, any_model: Any, count_hooks: Any) -> None:
    """Those whose blocks return their states and nothing else."""
    returning_tuples = {"bloom", "falcon", "falcon-alibi", "gptj", "gpt-neo"}
    assert supports_skipping(any_model) == (architecture not in returning_tuples)
    assert count_hooks(any_model) == 0
    assert not any("forward" in vars(block) for block in find_blocks(any_model))
