"""Log-likelihoods: the shared path, the plain one and a slow reference agree everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steereval.models import fit_steerer
from steereval.models.inference import pass_layout
from steereval.models.inference.likelihood import Score, Scorer, sharing_limit, supports_sharing
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer

TOLERANCE = 1e-4
SHARES = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "falcon", "gpt-neox", "gpt2",
          "gptj", "opt", "phi", "mixtral", "qwen2-moe"}  # fmt: skip
"""Attention by a mask and positions that can be given. The rest: a bias by distance along the
row (falcon-alibi, bloom), a mask by index in the row (gpt-neo), recurrence or convolution (mamba,
lfm2), or a window shorter than the shortest text that is tried (mistral-window)."""
RULES = ("generated", "all", "prompt", "prompt-last", "continuation", "0:2", "-3:")

tokens = st.integers(3, 8)


@st.composite
def some_texts(draw: st.DrawFn) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Contexts and continuations: shared beginnings, single tokens, duplicates, and the same
    text cut at different places."""
    long = tuple(draw(st.lists(tokens, min_size=11, max_size=11)))
    pairs = []
    for _ in range(draw(st.integers(1, 5))):
        start = long[: draw(st.integers(1, 9))]
        context = start + tuple(draw(st.lists(tokens, max_size=3)))
        continuation = tuple(draw(st.lists(tokens, min_size=1, max_size=4)))
        if draw(st.booleans()):
            context, continuation = start, long[len(start) :][:3]
        pairs.append((context, continuation))
    return [*pairs, *draw(st.lists(st.sampled_from(pairs), max_size=2))]


def requests_of(
    texts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    rule: str,
    unsteered_prefix: int,
    kinds: int,
) -> list[Request]:
    """The n-th text under the n-th of `kinds` interventions, turn by turn."""
    return [
        Request(c, k, n % kinds, *Positions(rule).interval(len(c), unsteered_prefix))
        for n, (c, k) in enumerate(texts)
    ]


@cache
def fitted(method: str, width: int) -> Steerer:
    draw = torch.Generator().manual_seed(3)
    positive = torch.randn(30, width, generator=draw) + 1.0
    negative = torch.randn(30, width, generator=draw) + 0.5
    options = {"components": 64, "steps": 4} if method == "odesteer" else {}
    return fit_steerer(method, positive, negative, **options)


def interventions(strength: float) -> list[Intervention]:
    """Two methods, the second of them at two layers."""
    odesteer = {Site(0): fitted("odesteer", 32), Site(2): fitted("odesteer", 32)}
    return [
        Intervention({Site(1): fitted("caa", 32)}, strength, label="caa"),
        Intervention(odesteer, strength, label="odesteer"),
    ]


@contextmanager
def steering_by_definition(
    model: Any, request: Request, chosen: Sequence[Intervention]
) -> Iterator[None]:
    """Steer a single unpadded text in place of the engine: token by token, from the rule."""
    handles = []
    intervention = chosen[request.intervention]
    for site, steerer in intervention.steerers.items():

        def change(module: Any, inputs: Any, output: Any, steerer: Steerer = steerer) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            rows = hidden[0].unbind(dim=0)
            last = len(rows) if request.end is None else request.end
            moved = [
                steerer(row, intervention.strength) if request.first <= i < last else row
                for i, row in enumerate(rows)
            ]
            result = torch.stack(moved)[None]
            return (result, *output[1:]) if isinstance(output, tuple) else result

        handles.append(find_blocks(model)[site.layer].register_forward_hook(change))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def reference(model: Any, request: Request, chosen: Sequence[Intervention]) -> Score:
    """One pass for each prefix, alone and without padding, cache, mask or positions."""
    total, greedy = 0.0, True
    for k, wanted in enumerate(request.continuation):
        prefix = torch.tensor([request.context + request.continuation[:k]])
        with torch.no_grad(), steering_by_definition(model, request, chosen):
            log_probs = model(input_ids=prefix, use_cache=False).logits[0, -1].log_softmax(-1)
        total += float(log_probs[wanted])
        greedy &= int(log_probs.argmax()) == wanted
    return Score(total, greedy)


def ignore(finished: int) -> None:
    pass


def shared(model: Any, requests: Sequence[Request], chosen: Sequence[Intervention]) -> list[Score]:
    with steered(model, chosen) as session:
        return Scorer(model, session).shared(requests, ignore)


def plain(
    model: Any, requests: Sequence[Request], chosen: Sequence[Intervention], rows: int = 3
) -> list[Score]:
    with steered(model, chosen) as session:
        return Scorer(model, session).plain(requests, rows, ignore)


def assert_same(result: Sequence[Score], wanted: Sequence[Score]) -> None:
    assert [score.is_greedy for score in result] == [score.is_greedy for score in wanted]
    for one, other in zip(result, wanted, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=TOLERANCE)


@settings(max_examples=12)
@given(
    texts=some_texts(),
    rule=st.sampled_from(RULES),
    unsteered_prefix=st.integers(0, 3),
    strength=st.sampled_from([0.0, 1.0, 20.0]),
    budget=st.sampled_from([4, 320]),
    stem=st.sampled_from([1, 8, 999]),
)
def test_shared_and_plain_equal_the_reference(
    architecture: str,
    any_model: Any,
    texts: list[Any],
    rule: str,
    unsteered_prefix: int,
    strength: float,
    budget: int,
    stem: int,
) -> None:
    chosen = interventions(strength)
    requests = requests_of(texts, rule, unsteered_prefix, len(chosen))
    known = {request: reference(any_model, request, chosen) for request in set(requests)}
    wanted = [known[request] for request in requests]
    assert_same(plain(any_model, requests, chosen), wanted)
    if architecture in SHARES:
        with (
            mock.patch.dict(pass_layout.ROW_TOKENS, cpu=budget),
            mock.patch.object(pass_layout, "LEAST_SHARED_TOKENS", stem),
        ):
            assert_same(shared(any_model, requests, chosen), wanted)


def test_which_models_share(architecture: str, any_model: Any) -> None:
    assert supports_sharing(any_model, 1e-4) == (architecture in SHARES)


def test_lora_model_shares(lora: Any) -> None:
    model = lora("llama", "o_proj")
    assert supports_sharing(model, 1e-4)
    chosen = interventions(3.0)
    texts = [((5, 6, 7), (4, 3)), ((5, 6, 8), (4,)), ((5, 6, 7), (4, 4))]
    requests = requests_of(texts, "generated", 0, 2)
    wanted = [reference(model, request, chosen) for request in requests]
    assert_same(shared(model, requests, chosen), wanted)
    assert_same(plain(model, requests, chosen), wanted)


def test_sharing_is_refused_where_one_answer_is_not_a_number(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever among the others it stands."""
    right = Scorer.shared

    def wrong(self: Scorer, requests: Sequence[Request], done: Any) -> list[Score]:
        return [*right(self, requests, done)[:-1], Score(float("nan"), True)]

    monkeypatch.setattr(Scorer, "shared", wrong)
    assert not supports_sharing(tiny("llama"), 1e-4)


@pytest.mark.parametrize(
    ("architecture", "limit"),
    [("llama", None), ("mistral", None), ("mistral-window", 8), ("gemma2", 64), ("gemma3", 64),
     ("qwen2", None), ("bloom", None)],
)  # fmt: skip
def test_sharing_limit(tiny: Any, architecture: str, limit: int | None) -> None:
    assert sharing_limit(tiny(architecture)) == limit


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
def test_sharing_holds_up_to_the_window(tiny: Any, architecture: str) -> None:
    """Texts as long as the window, in rows that are longer, with and without the stem."""
    model = tiny(architecture)
    draw = torch.Generator().manual_seed(0)
    long = torch.randint(3, 200, (8, 64), generator=draw).tolist()
    texts = [((*long[0][:20], *text[20:60]), tuple(text[60:])) for text in long]
    requests = requests_of(texts, "generated", 0, 2)
    assert_same(
        shared(model, requests, interventions(2.0)), plain(model, requests, interventions(2.0))
    )
    apart = requests_of([(tuple(text[:60]), tuple(text[60:])) for text in long], "all", 0, 2)
    assert_same(shared(model, apart, interventions(2.0)), plain(model, apart, interventions(2.0)))


@pytest.mark.slow
@pytest.mark.parametrize("stem", [1, 999])
@settings(max_examples=25)
@given(texts=some_texts(), order=st.randoms(use_true_random=False))
def test_order_batch_and_company_do_not_matter(
    tiny: Any, stem: int, texts: list[Any], order: Any
) -> None:
    model = tiny("llama")
    chosen = interventions(5.0)
    requests = requests_of(texts, "generated", 0, 2)
    wanted = plain(model, requests, chosen, rows=1)
    places = list(range(len(requests)))
    order.shuffle(places)
    mixed = [requests[place] for place in places]
    with mock.patch.object(pass_layout, "LEAST_SHARED_TOKENS", stem):
        assert_same(shared(model, mixed, chosen), [wanted[place] for place in places])
        assert_same([shared(model, [r], chosen)[0] for r in requests], wanted)
    assert_same(plain(model, mixed, chosen, rows=4), [wanted[place] for place in places])


def test_the_stem_is_computed_once(tiny: Any) -> None:
    """With a stem long enough, no later pass is fed its tokens again."""
    stem = tuple(range(10, 30))
    requests = [Request((*stem, n), (5, 6), -1, 0, 0) for n in range(40, 50)]
    fed: list[int] = []
    model = tiny("llama")
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    try:
        with mock.patch.dict(pass_layout.ROW_TOKENS, cpu=8):
            with_stem = shared(model, requests, [])
        assert fed == [20, 8, 8, 4]
        fed.clear()
        with mock.patch.object(pass_layout, "LEAST_SHARED_TOKENS", 21):
            assert_same(shared(model, requests, []), with_stem)
        assert fed == [40]
    finally:
        handle.remove()


@pytest.mark.parametrize("path", ["shared", "plain"])
def test_of_equally_likely_tokens_the_first_is_greedy(tiny: Any, path: str) -> None:
    """As lm-eval has it. Ties are common in bfloat16; here all tokens are alike."""
    model = deepcopy(tiny("llama"))
    model.lm_head.weight.data.zero_()
    score = shared if path == "shared" else plain
    requests = [Request((5, 6), (token,), -1, 0, 0) for token in range(20)]
    greedy = [scored.is_greedy for scored in score(model, requests, [])]
    assert greedy == [True] + [False] * 19


@pytest.mark.parametrize("path", ["shared", "plain"])
def test_progress_counts_every_request(tiny: Any, path: str) -> None:
    request = Request((5, 6), (7, 8), -1, 0, 0)
    requests = [request, Request((5, 9), (7,), -1, 0, 0), request, request]
    finished: list[int] = []
    with steered(tiny("llama"), []) as session:
        scorer = Scorer(tiny("llama"), session)
        if path == "shared":
            scorer.shared(requests, finished.append)
        else:
            scorer.plain(requests, 3, finished.append)
    assert sum(finished) == 4


def test_softmax_dtype(tiny: Any) -> None:
    """A model in bfloat16 whose log-softmax is taken in float32, as lm-eval offers it."""
    from copy import deepcopy

    model = deepcopy(tiny("llama")).bfloat16()
    requests = [Request((5, 6, 7), (8, 9, 10), -1, 0, 0)]
    with torch.no_grad(), steered(model, []) as session:
        log_probs = (
            model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits[0].float().log_softmax(-1)
        )
        wanted = float(log_probs[[2, 3, 4], [8, 9, 10]].sum())
        (scored,) = Scorer(model, session, torch.float32).plain(requests, 1, ignore)
    assert scored.log_likelihood == pytest.approx(wanted, abs=1e-4)


def per_query(gate: Any) -> list[Intervention]:
    """Two gates at two layers each, and a plain shift, in one batch."""
    two = {Site(0): gate(32, seed=1), Site(2): gate(32, seed=2)}
    other = {Site(0): gate(32, seed=3), Site(1): gate(32, seed=4)}
    return [
        Intervention(two, 4.0, label="one gate"),
        Intervention(other, 4.0, label="another gate"),
        Intervention({Site(1): fitted("caa", 32)}, 2.0, label="caa"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=10)
@given(texts=some_texts(), budget=st.sampled_from([4, 320]), stem=st.sampled_from([1, 999]))
def test_a_gate_decides_alike_on_all_paths(
    tiny: Any, gate: Any, rule: str, texts: list[Any], budget: int, stem: int
) -> None:
    """The same keys, the same scores of each prompt and the same likelihoods."""
    model = tiny("llama")
    # Every text under every intervention, so that equal prompts meet under different ones.
    requests = [
        Request(c, k, n, *Positions(rule).interval(len(c), 1)) for c, k in texts for n in range(3)
    ]
    alone, together, apart = per_query(gate), per_query(gate), per_query(gate)
    wanted = plain(model, requests, alone, rows=1)
    assert_same(plain(model, requests, apart, rows=4), wanted)
    with (
        mock.patch.dict(pass_layout.ROW_TOKENS, cpu=budget),
        mock.patch.object(pass_layout, "LEAST_SHARED_TOKENS", stem),
    ):
        assert_same(shared(model, requests, together), wanted)
    decisions = decisions_of_single_requests(model, requests, gate)
    for index, site in decisions:
        steerer: Any = together[index].steerers[site]
        for key, score in decisions[index, site].items():
            nearest = min(steerer.decided[key], key=lambda result: abs(result - score))
            assert nearest == pytest.approx(score, abs=TOLERANCE)


def decisions_of_single_requests(
    model: Any, requests: Sequence[Request], gate: Any
) -> dict[tuple[int, Site], dict[str, float]]:
    """What each gate scores each prompt when nothing else is in the batch."""
    result: dict[tuple[int, Site], dict[str, float]] = {}
    for request in requests[: 3 * 2]:
        if request.intervention == 2:
            continue
        chosen = per_query(gate)
        plain(model, [request], chosen)
        for site, steerer in chosen[request.intervention].steerers.items():
            decided: Any = steerer
            scores = result.setdefault((request.intervention, site), {})
            scores[request.key] = decided.decided[request.key][0]
    return result


def test_shared_decides_each_query_once_per_row(tiny: Any, gate: Any) -> None:
    """Two interventions on one prompt: at the second layer each sees its own steered state."""
    model = tiny("llama")
    chosen = per_query(gate)[:2]
    interval = Positions("generated").interval(3, 0)
    requests = [Request((5, 6, 7), (8, k), n, *interval) for n in range(2) for k in (9, 10)]
    shared(model, requests, chosen)
    first: Any = chosen[0].steerers[Site(2)]
    second: Any = chosen[1].steerers[Site(1)]
    for steerer in (first, second):
        assert list(steerer.decided) == [requests[0].key]
        assert len(steerer.decided[requests[0].key]) == 2
    known = decisions_of_single_requests(model, [requests[0], requests[2]], gate)
    assert first.decided[requests[0].key][0] == pytest.approx(
        known[0, Site(2)][requests[0].key], abs=1e-4
    )
    assert second.decided[requests[0].key][1] == pytest.approx(
        known[1, Site(1)][requests[0].key], abs=1e-4
    )


@pytest.mark.real
def test_real_model(smollm2: Any) -> None:
    """Strength 0 and 5 on the bundled model: shared, plain and reference."""
    model, tokenizer = smollm2
    shots = tokenizer("Q: What is 1+1?\nA: 2.\n\nQ: What is water made of?\nA:")["input_ids"]
    answers = [" Hydrogen and oxygen.", " Hydrogen", " Fire and earth."]
    continuations = [tokenizer(answer)["input_ids"] for answer in answers]
    vector = fitted("caa", 576)
    for strength in (0.0, 5.0):
        chosen = [Intervention({Site(14): vector}, strength)]
        interval = Positions("generated").interval(len(shots), 0)
        requests = [Request(tuple(shots), tuple(k), 0, *interval) for k in continuations]
        wanted = [reference(model, request, chosen) for request in requests]
        assert_same(plain(model, requests, chosen), wanted)
        assert_same(shared(model, requests, chosen), wanted)
