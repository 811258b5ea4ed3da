"""Generation steers the tokens that likelihoods steer, with any cache, batch and strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from steereval.models import fit_steerer
from steereval.models.inference.generation import (
    ROWS,
    Prompts,
    generating,
    prefilled,
    rows_together,
)
from steereval.models.inference.likelihood import Scorer
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.hook_points import Site
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions

PROMPTS = [(5, 6, 7, 8, 9), (10, 11), (12, 13, 14, 15), (16,)]
NEW = 6
RULES = ("generated", "all", "prompt", "prompt-last", "continuation", "1:3")
TOLERANCE = 1e-4
SHARING = (
    "llama",
    "mistral",
    "qwen3",
    "gemma2",
    "gemma3",
    "gpt-neox",
    "gpt2",
    "opt",
    "phi",
    "mixtral",
)


def padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Left-padded token ids and mask [rows, width]."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


@given(st.integers(1, 2000), st.integers(1, 16), st.sampled_from(["cpu", "cuda"]))
def test_a_batch_holds_whole_prompts_and_no_more_rows_than_help(
    prompts: int, arms: int, device: str
) -> None:
    rows = rows_together(prompts, arms, device)
    assert prompts <= rows <= prompts * arms
    assert rows <= max(ROWS[device], prompts)
    if rows > prompts:
        assert rows % arms == 0
    if prompts * arms <= ROWS[device]:
        assert rows == prompts * arms


def batch_of(
    prompts: Sequence[Sequence[int]],
    interventions: Sequence[int],
    unsteered_prefix: int = 0,
    rules: Sequence[str] = ("generated",),
) -> Prompts:
    """Left-padded prompts; `rules` are repeated as often as needed."""
    width = max(len(prompt) for prompt in prompts)
    return Prompts(
        torch.tensor([width - len(prompt) for prompt in prompts]),
        width,
        [unsteered_prefix] * len(prompts),
        interventions,
        [Positions(rules[row % len(rules)]) for row in range(len(prompts))],
        [str(tuple(prompt)) for prompt in prompts],
    )


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    chosen: Sequence[Intervention],
    rule: str = "generated",
    *,
    acting: Sequence[int] | None = None,
    unsteered_prefix: int = 0,
    processors: Sequence[LogitsProcessor] = (),
    sharing: bool = False,
    **options: Any,
) -> Any:
    """Greedy or beam search of six tokens, row n under intervention acting[n] (default 0)."""
    ids, mask = padded(prompts)
    batch = batch_of(
        prompts, acting or [0 if chosen else -1] * len(prompts), unsteered_prefix, [rule]
    )
    config = GenerationConfig(
        max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0, output_logits=True,
        return_dict_in_generate=True, output_scores=True, **options,
    )  # fmt: skip
    cache = {"past_key_values": prefilled(model, ids, mask)} if sharing else {}
    with steered(model, chosen) as session, generating(model, session, batch):
        return model.generate(
            ids,
            attention_mask=mask,
            **cache,
            generation_config=config,
            logits_processor=LogitsProcessorList(processors),
        )


def answers(output: Any) -> list[list[int]]:
    result: list[list[int]] = output.sequences[:, -NEW:].tolist()
    return result


def logits(output: Any) -> Tensor:
    """Logits [rows, new tokens, vocabulary]."""
    return torch.stack(output.logits, dim=1)


def likelihoods(
    model: Any,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    chosen: Sequence[Intervention],
    rule: str,
    path: str,
    acting: Sequence[int] | None = None,
    unsteered_prefix: int = 0,
) -> list[float]:
    positions = Positions(rule)
    requests = [
        Request(tuple(p), tuple(c), n, *positions.interval(len(p), unsteered_prefix))
        for p, c, n in zip(prompts, continuations, acting or [0] * len(prompts), strict=True)
    ]
    with steered(model, chosen) as session:
        scorer = Scorer(model, session)
        if path == "shared":
            scores = scorer.shared(requests, lambda _: None)
        else:
            scores = scorer.plain(requests, 3, lambda _: None)
    return [score.log_likelihood for score in scores]


def caa(strength: float, layer: int = 1, seed: int = 0) -> Intervention:
    draw = torch.Generator().manual_seed(seed)
    steerer = fit_steerer(
        "caa", torch.randn(9, 32, generator=draw), torch.randn(9, 32, generator=draw)
    )
    return Intervention({Site(layer): steerer}, strength)


def odesteer(strength: float) -> Intervention:
    draw = torch.Generator().manual_seed(9)
    positive = torch.randn(20, 32, generator=draw) + 1
    steerer = fit_steerer("odesteer", positive, torch.randn(20, 32, generator=draw), components=64)
    return Intervention({Site(0): steerer, Site(2): steerer}, strength)


@pytest.mark.parametrize("rule", RULES)
def test_cache_does_not_matter(any_model: Any, rule: str) -> None:
    one = generate(any_model, PROMPTS, [caa(6.0)], rule)
    other = generate(any_model, PROMPTS, [caa(6.0)], rule, use_cache=False)
    assert answers(one) == answers(other)
    assert torch.allclose(logits(one), logits(other), atol=TOLERANCE)


def test_batch_does_not_matter(any_model: Any) -> None:
    """Alone, or left-padded beside longer prompts."""
    together = logits(generate(any_model, PROMPTS, [odesteer(4.0)]))
    for row, prompt in enumerate(PROMPTS):
        alone = logits(generate(any_model, [prompt], [odesteer(4.0)]))
        assert torch.allclose(together[row], alone[0], atol=TOLERANCE)


def test_steering_changes_the_answers(any_model: Any) -> None:
    plain = logits(generate(any_model, PROMPTS, [caa(0.0)]))
    moved = logits(generate(any_model, PROMPTS, [caa(6.0)]))
    assert ((plain - moved)[:, 0].abs().amax(dim=-1) > 0.01).all()


@pytest.mark.parametrize("rule", RULES)
def test_likelihood_is_that_of_the_generation(any_model: Any, rule: str) -> None:
    """The plain path scores a greedy answer as the generation that made it did."""
    chosen = [caa(6.0), odesteer(6.0)]
    acting = [0, 1, 0, 1]
    output = generate(any_model, PROMPTS, chosen, rule, acting=acting, unsteered_prefix=1)
    made = answers(output)
    chances = logits(output).log_softmax(-1).gather(2, torch.tensor(made)[..., None])
    result = likelihoods(
        any_model, PROMPTS, made, chosen, rule, "plain", acting, unsteered_prefix=1
    )
    assert result == pytest.approx(chances.sum(dim=(1, 2)).tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_shared_likelihood_is_that_of_the_generation(tiny: Any, name: str, rule: str) -> None:
    model = tiny(name)
    output = generate(model, PROMPTS, [odesteer(6.0)], rule, unsteered_prefix=1)
    made = answers(output)
    chances = logits(output).log_softmax(-1).gather(2, torch.tensor(made)[..., None])
    result = likelihoods(model, PROMPTS, made, [odesteer(6.0)], rule, "shared", unsteered_prefix=1)
    assert result == pytest.approx(chances.sum(dim=(1, 2)).tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom"])
def test_beams(tiny: Any, name: str, use_cache: bool) -> None:
    """Each beam's score is the likelihood of its text under its own row's steering."""
    model = tiny(name)
    chosen, acting = [caa(6.0), odesteer(6.0)], [0, 1, 1, 0]
    output = generate(model, PROMPTS, chosen, acting=acting, num_beams=3, length_penalty=0.0,
                      num_return_sequences=2, use_cache=use_cache)  # fmt: skip
    twice = [prompt for prompt in PROMPTS for _ in range(2)]
    result = likelihoods(
        model, twice, answers(output), chosen, "generated", "plain",
        [index for index in acting for _ in range(2)],
    )  # fmt: skip
    assert result == pytest.approx(output.sequences_scores.tolist(), abs=TOLERANCE)


def test_rows_of_a_batch_have_their_own_interventions(tiny: Any) -> None:
    model = tiny("llama")
    chosen = [caa(6.0), odesteer(6.0)]
    mixed = logits(generate(model, PROMPTS, chosen, acting=[0, 1, -1, 1]))
    plain = logits(generate(model, PROMPTS, []))
    first = logits(generate(model, PROMPTS, chosen[:1]))
    second = logits(generate(model, PROMPTS, chosen[1:]))
    wanted = torch.stack([first[0], second[1], plain[2], second[3]])
    assert torch.allclose(mixed, wanted, atol=TOLERANCE)


@pytest.mark.parametrize("rule", ["generated", "all", "continuation"])
def test_a_gate_decides_in_generation_as_in_likelihoods(tiny: Any, gate: Any, rule: str) -> None:
    """Two gates at two layers: the same keys, scores and answers, whatever path or batch."""
    model = tiny("llama")

    def gates() -> tuple[Intervention, list[Any]]:
        steerers = [gate(32, seed=1), gate(32, seed=2)]
        return Intervention(dict(zip([Site(0), Site(2)], steerers, strict=True)), 5.0), steerers

    intervention, together = gates()
    output = generate(model, PROMPTS, [intervention], rule)
    made = answers(output)
    chances = logits(output).log_softmax(-1).gather(2, torch.tensor(made)[..., None])
    wanted = chances.sum(dim=(1, 2)).tolist()
    for path in ("plain", "shared"):
        intervention, apart = gates()
        result = likelihoods(model, PROMPTS, made, [intervention], rule, path)
        assert result == pytest.approx(wanted, abs=TOLERANCE)
        for one, other in zip(together, apart, strict=True):
            assert one.decided.keys() == other.decided.keys() == {str(p) for p in PROMPTS}
            for key, scores in one.decided.items():
                assert scores == pytest.approx(other.decided[key], abs=TOLERANCE)
    opened = [score > 0 for steerer in together for (score,) in steerer.decided.values()]
    assert any(opened)
    assert not all(opened)


@pytest.mark.parametrize("options", [{"use_cache": False}, {"num_beams": 2}])
def test_a_gate_without_cache_and_with_beams(tiny: Any, gate: Any, options: Any) -> None:
    model = tiny("llama")
    intervention = Intervention({Site(1): gate(32)}, 5.0)
    output = generate(model, PROMPTS, [intervention], length_penalty=0.0, **options)
    if "num_beams" in options:
        wanted = output.sequences_scores.tolist()
    else:
        made = torch.tensor(answers(output))[..., None]
        wanted = logits(output).log_softmax(-1).gather(2, made).sum(dim=(1, 2)).tolist()
    result = likelihoods(model, PROMPTS, answers(output), [intervention], "generated", "plain")
    assert result == pytest.approx(wanted, abs=TOLERANCE)


def test_lora_model(lora: Any) -> None:
    """PEFT's `generate` goes past PEFT's own forward, and is steered all the same."""
    model = lora("llama", "o_proj")
    output = generate(model, PROMPTS, [caa(6.0)])
    made = answers(output)
    chances = logits(output).log_softmax(-1).gather(2, torch.tensor(made)[..., None])
    result = likelihoods(model, PROMPTS, made, [caa(6.0)], "generated", "plain")
    assert result == pytest.approx(chances.sum(dim=(1, 2)).tolist(), abs=TOLERANCE)


class Failing(LogitsProcessor):
    """Raises at the third token."""

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        if ids.shape[1] == max(len(prompt) for prompt in PROMPTS) + 2:
            raise RuntimeError("the processor failed")
        return scores


@pytest.mark.parametrize("wrapped", [False, True])
def test_hooks_are_gone_after_an_error_inside_generate(
    tiny: Any, lora: Any, count_hooks: Any, wrapped: bool
) -> None:
    model = lora("llama", "o_proj") if wrapped else tiny("llama")
    before = count_hooks(model)
    with pytest.raises(RuntimeError, match="the processor failed"):
        generate(model, PROMPTS, [caa(6.0)], processors=[Failing()])
    assert count_hooks(model) == before
    generate(model, PROMPTS, [caa(6.0)])
    assert count_hooks(model) == before


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("rule", ["generated", "prompt-last", "continuation"])
def test_equal_prompts_are_computed_once(tiny: Any, name: str, rule: str) -> None:
    """Rows of several interventions go on from one prompt as they would from their own."""
    model = tiny(name)
    rows, acting = [p for p in PROMPTS for _ in range(3)], [0, 1, -1] * len(PROMPTS)
    chosen = [caa(6.0), caa(9.0, seed=1)]
    fed: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: fed.append(inputs[0].numel())
    )
    alone = generate(model, rows, chosen, rule, acting=acting)
    whole, fed[:] = sum(fed), []
    shared = generate(model, rows, chosen, rule, acting=acting, sharing=True)
    handle.remove()
    assert answers(shared) == answers(alone)
    assert torch.allclose(logits(shared), logits(alone), atol=TOLERANCE)
    assert sum(fed) == whole - 2 * len(PROMPTS) * (max(map(len, PROMPTS)) - 1)


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("prompts", [PROMPTS, [(), (10, 11), (12,)], [(40,), (41,)]])
def test_what_prompts_begin_with_is_computed_once(tiny: Any, name: str, prompts: Any) -> None:
    """A few-shot primer, whatever its prompts' lengths; not where a window drops tokens."""
    model = tiny(name)
    stem = tuple(range(20, 32))
    rows, acting = [(*stem, *p) for p in prompts for _ in range(3)], [0, 1, -1] * len(prompts)
    chosen = [caa(6.0), caa(9.0, seed=1)]
    fed: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: fed.append(inputs[0].numel())
    )
    shared = generate(model, rows, chosen, acting=acting, sharing=True)
    handle.remove()
    alone = generate(model, rows, chosen, acting=acting)
    assert answers(shared) == answers(alone)
    assert torch.allclose(logits(shared), logits(alone), atol=TOLERANCE)
    if name == "llama":
        # The stem but for the last token of the shortest prompt, then each prompt's own columns.
        common = 12 - (() in prompts)
        columns = max(len(p) for p in prompts) - (1 if () not in prompts else 0)
        assert fed[0] == common
        assert fed[1] == len(prompts) * max(columns, 1)


def test_different_prompts_share_nothing(tiny: Any) -> None:
    assert prefilled(tiny("llama"), *padded(PROMPTS)).get_seq_length() == 0
    assert prefilled(tiny("llama"), *padded([(5,), (5,)])).get_seq_length() == 0


prompts = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@given(prompts, st.lists(st.sampled_from(RULES), min_size=1), st.integers(0, 3), st.data())
def test_frames_of_pieces_make_up_the_whole(
    lengths: list[int], rules: list[str], unsteered_prefix: int, data: st.DataObject
) -> None:
    """However the columns come in passes, each token is steered as its row's rule says."""
    texts = [tuple(range(1, length + 1)) for length in lengths]
    batch = batch_of(texts, list(range(len(texts))), unsteered_prefix, rules)
    total = batch.width + 5
    cut = data.draw(st.integers(1, total - 1))
    first = batch.context(len(texts), 0, cut)
    second = batch.context(len(texts), cut, total - cut)
    assigned = torch.cat([first.assigned, second.assigned], dim=1)
    for row, length in enumerate(lengths):
        start, end = batch.positions[row].interval(length, unsteered_prefix)
        offset = batch.width - length
        for column in range(total):
            inside = column >= offset + start and (end is None or column < offset + end)
            assert assigned[row, column] == (row if inside else -1)
    holders = [frame for frame in (first, second) if frame.prompt_last is not None]
    (holder,) = holders
    base = 0 if holder is first else cut
    assert holder.keys == list(batch.keys)
    assert holder.prompt_last is not None
    assert (holder.prompt_last[:, 1] + base == batch.width - 1).all()


def test_a_frame_for_beams_repeats_each_row_in_place() -> None:
    batch = batch_of([(5, 6), (7,)], [3, -1])
    frame = batch.context(6, 0, 2)
    assert frame.assigned.tolist() == [[-1, 3]] * 3 + [[-1, -1]] * 3
    assert list(frame.keys) == ["(5, 6)"] * 3 + ["(7,)"] * 3
    assert frame.prompt_last is not None
    assert frame.prompt_last.tolist() == [[row, 1] for row in range(6)]
    assert frame.query is not None
    assert frame.query[:, 0].tolist() == list(range(6))


@pytest.mark.real
def test_real_model(smollm2: Any) -> None:
    """On the bundled model: cache, batch and both likelihood paths agree."""
    model, tokenizer = smollm2
    texts = ["The capital of France is", "Q: Is the earth flat?\nA:"]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    draw = torch.Generator().manual_seed(0)
    steerer = fit_steerer(
        "caa", torch.randn(9, 576, generator=draw), torch.randn(9, 576, generator=draw)
    )
    chosen = [Intervention({Site(14): steerer}, 3.0)]
    output = generate(model, ids, chosen)
    bare = generate(model, ids, chosen, use_cache=False)
    assert answers(output) == answers(bare)
    made = answers(output)
    chances = logits(output).log_softmax(-1).gather(2, torch.tensor(made)[..., None])
    for path in ("plain", "shared"):
        result = likelihoods(model, ids, made, chosen, "generated", path)
        assert result == pytest.approx(chances.sum(dim=(1, 2)).tolist(), abs=TOLERANCE)
