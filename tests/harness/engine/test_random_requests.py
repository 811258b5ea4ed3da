"""Random requests to tiny models of every architecture: both paths, lm-eval's own model and a slow
reference give the same likelihoods.

The tokenizer merges across words, so that where a prompt ends is often inside a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.treatments import Treatment, unfitted, unsteered
from steereval.models import fit_steerer
from steereval.models.artefacts.artefact import Artefact
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer

TOLERANCE = 1e-4
WINDOW = 24
"""The context window in tokens."""
VOCABULARY = 384
BOS = 1
SLIDING = {"gemma2": 12, "gemma3": 12}
"""Attention windows that some of the requests exceed, so that one call takes both paths."""
TEXTS = [
    "the moon is made of rock. the moon circles the earth in a month.",
    "no, the sun is not a planet; the earth and the moon are not stars.",
    "café 日本 日本語 🌙 naïve über",
]
PIECES = [
    *("the", " the", "th", "e m", "oon", " moon", " ", "  ", "\n", "is", " is ", "not", "n", "ot"),
    *(".", " ea", "rth", "é", "caf", "日", "本", "🌙", "q", "<s>", "</s>"),
]
RULES = ("generated", "generated", "all", "continuation", "prompt-last")


@cache
def tokenizer(adds_bos: bool) -> Any:
    """All bytes, and merges that spaces do not stop."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(TEXTS * 3, trainer)
    if adds_bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", BOS)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@dataclass(frozen=True)
class Trio:
    """One model as lm-eval has it, and as the project has it, on its two paths."""

    hf: HFLM
    auto: SteeredLM
    plain: SteeredLM


@cache
def trio(tiny: Callable[..., Any], architecture: str, adds_bos: bool) -> Trio:
    changes = {"sliding_window": SLIDING[architecture]} if architecture in SLIDING else {}
    model = tiny(architecture, vocab_size=VOCABULARY, **changes)
    options: dict[str, Any] = {
        "tokenizer": tokenizer(adds_bos),
        "max_length": WINDOW,
        "batch_size": 3,
        "device": "cpu",
    }
    steering: dict[str, Any] = {"steer_fewshot": True}
    made = [SteeredLM(model, path=path, **steering, **options) for path in ("auto", "plain")]
    # Of continuations of different lengths that end alike, as ("a", "bb") and ("ab", "b"), lm-eval
    # 0.4.13 scores the shorter ones by the wrong tokens when it caches logits (see its issue 2984).
    return Trio(HFLM(model, logits_cache=False, **options), *made)


@st.composite
def some_requests(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Prompts and continuations: shared beginnings, empty prompts, prompts beyond the window,
    boundaries inside tokens, duplicates, continuations that begin others."""
    text = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=3)
    primer = draw(st.sampled_from(["", "the moon is not the earth.\n", TEXTS[0], 3 * TEXTS[1]]))
    stems = draw(st.lists(text, min_size=1, max_size=2))
    pairs = []
    for _ in range(draw(st.integers(1, 4))):
        context = primer + draw(st.sampled_from(stems)) + draw(text)
        if draw(st.integers(0, 7)) == 0:
            context = ""
        continuation = draw(st.sampled_from([" the moon", "is", "n", "<s>the"]) | text)
        cut = draw(st.integers(0, len(continuation)))
        pairs.append((context, continuation))
        beginning = (context, continuation[:cut])
        later = (context + continuation[:cut], continuation[cut:])
        pairs += draw(st.sampled_from([[], [], [beginning], [later]]))
    return [*pairs, *draw(st.lists(st.sampled_from(pairs), max_size=2))]


def encoded(lm: HFLM, text: str) -> list[int]:
    """Tokens with a BOS token in front where the tokenizer adds one, but never two."""
    return list(lm.tokenizer.encode(text, add_special_tokens=not text.startswith("<s>")))


def tokenised(lm: HFLM, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Prompt and continuation as tokens, cut to the window: lm-eval's definition."""
    if not context:
        answer = list(lm.tokenizer.encode(continuation, add_special_tokens=False))
        prompt, answer = [BOS], answer[1:] if answer[:1] == [BOS] else answer
    else:
        # A prompt's last spaces belong to the continuation, which is what the whole text has
        # beyond as many tokens as the prompt alone.
        prompt = encoded(lm, context.rstrip())
        answer = encoded(lm, context + continuation)[len(prompt) :]
    window = (prompt + answer)[-(WINDOW + 1) :]
    return window[: max(len(window) - len(answer), 0)], answer


def usable(lm: HFLM, context: str, continuation: str) -> bool:
    """Whether lm-eval scores this at all."""
    prompt, answer = tokenised(lm, context, continuation) if context + continuation else ([], [])
    return bool(prompt and answer)


@dataclass(frozen=True)
class Arm:
    """A treatment, and what the reference must know of it."""

    treatment: Treatment
    steerers: Sequence[dict[int, Steerer]]
    """By fold and by block; one for all where there are no folds."""

    def of(self, document: int) -> dict[int, Steerer]:
        """The steerers, by block, that act on a document."""
        return self.steerers[document % len(self.steerers)]


@cache
def fitted(method: str, seed: int) -> Steerer:
    draw = torch.Generator().manual_seed(seed)
    positive = torch.randn(30, 32, generator=draw) + 1.0
    negative = torch.randn(30, 32, generator=draw) + 0.5
    options = {"components": 64, "steps": 4} if method == "odesteer" else {}
    return fit_steerer(method, positive, negative, **options)


def artefact(steerers: dict[int, Steerer]) -> Artefact:
    return Artefact({Site(layer): steerer for layer, steerer in steerers.items()}, {})


def arms(strength: float, rule: str) -> list[Arm]:
    """Nothing, a shift, a flow at two blocks, and a shift with two folds at the first block."""
    positions = Positions(rule)
    shift = {1: fitted("caa", 0)}
    flow = {0: fitted("odesteer", 1), 2: fitted("odesteer", 2)}
    folds = [{0: fitted("caa", 3)}, {0: fitted("caa", 4)}]
    by_fold = Treatment(
        "folds",
        -strength,
        "absolute",
        Positions("generated"),
        lambda fold: artefact(folds[fold or 0]),
        lambda question: int(question) % 2,
    )
    return [
        Arm(unsteered(), [{}]),
        Arm(unfitted(artefact(shift), "caa", strength, "absolute", positions), [shift]),
        Arm(unfitted(artefact(flow), "odesteer", strength, "absolute", positions), [flow]),
        Arm(by_fold, folds),
    ]


def is_steered(index: int, prompt: Sequence[int], rule: str) -> bool:
    """Whether a rule steers the token at `index`; a BOS token in front never is."""
    last = len(prompt) - 1
    if index == 0 and prompt[0] == BOS:
        return False
    return {
        "generated": index >= last,
        "all": True,
        "continuation": index > last,
        "prompt-last": index == last,
    }[rule]


def moved(steerer: Steerer, state: Tensor, strength: float) -> Tensor:
    shift: Any = getattr(steerer, "vector", None)
    return steerer(state, strength) if shift is None else state + strength * shift


@contextmanager
def steering(
    model: Any, steerers: dict[int, Steerer], strength: float, chosen: Sequence[int]
) -> Iterator[None]:
    """Move the chosen tokens of a single unpadded text, by plain hooks."""
    handles = []
    for layer, steerer in steerers.items():

        def change(module: Any, inputs: Any, output: Any, steerer: Steerer = steerer) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            result = hidden.clone()
            for index in chosen:
                result[0, index] = moved(steerer, hidden[0, index], strength)
            return (result, *output[1:]) if isinstance(output, tuple) else result

        handles.append(find_blocks(model)[layer].register_forward_hook(change))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Wanted:
    """What the reference finds for one request."""

    log_likelihood: float
    is_greedy: bool
    margin: float
    """How near greedy decoding comes to another choice, in nats."""

    def agrees(self, result: tuple[float, bool]) -> bool:
        near = math.isclose(result[0], self.log_likelihood, abs_tol=TOLERANCE)
        return near and (result[1] == self.is_greedy or self.margin <= TOLERANCE)


def reference(lm: HFLM, request: Instance, arm: Arm) -> Wanted:
    """One forward pass over the whole text, alone and without padding, cache or mask."""
    prompt, answer = tokenised(lm, *request.args)
    fed = (prompt + answer)[:-1]
    treatment = arm.treatment
    rule = treatment.positions.rule
    chosen = [index for index in range(len(fed)) if is_steered(index, prompt, rule)]
    steerers = arm.of(int(request.doc["question"]))
    with torch.no_grad(), steering(lm.model, steerers, treatment.strength, chosen):
        logits = lm.model(input_ids=torch.tensor([fed]), use_cache=False).logits[0]
    log_probs = logits[len(prompt) - 1 :].log_softmax(-1)
    target = torch.tensor(answer)
    best = log_probs.topk(2).values
    return Wanted(
        float(log_probs.gather(1, target[:, None]).sum()),
        bool((log_probs.argmax(-1) == target).all()),
        float((best[:, 0] - best[:, 1]).min()),
    )


def likeliest(lm: HFLM, context: str) -> str:
    """The text of the token that follows `context` under greedy decoding."""
    prompt, _ = tokenised(lm, context, ".")
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
    return str(lm.tokenizer.decode(int(logits.argmax())))


def instances(pairs: Sequence[tuple[str, str]]) -> list[Instance]:
    return [
        Instance("loglikelihood", {"question": str(number)}, pair, 0)
        for number, pair in enumerate(pairs)
    ]


@pytest.mark.slow
@settings(max_examples=10)
@given(
    pairs=some_requests(),
    adds_bos=st.booleans(),
    strength=st.sampled_from([0.0, 0.5, 5.0]),
    rule=st.sampled_from(RULES),
)
def test_all_agree(
    tiny: Callable[..., Any],
    architecture: str,
    pairs: list[tuple[str, str]],
    adds_bos: bool,
    strength: float,
    rule: str,
) -> None:
    three = trio(tiny, architecture, adds_bos)
    hf = three.hf
    pairs = [pair for pair in pairs if usable(hf, *pair)]
    said = [
        (context, likeliest(hf, context)) for context, _ in pairs[:1] if usable(hf, context, ".")
    ]
    requests = instances([*pairs, *(pair for pair in said if usable(hf, *pair))])
    treated = arms(strength, rule)
    wanted = [[reference(hf, request, arm) for request in requests] for arm in treated]
    event(f"greedy: {any(each.is_greedy for row in wanted for each in row)}")
    assert_agree(hf.loglikelihood(requests, disable_tqdm=True), wanted[0], requests)
    for lm in (three.auto, three.plain):
        together = lm.answer(
            "loglikelihood", requests, [arm.treatment for arm in treated], [0] * len(treated)
        )
        for answers, rows in zip(together, wanted, strict=True):
            assert_agree(answers.values, rows, requests)
        (alone,) = lm.answer("loglikelihood", requests, [treated[2].treatment], [0])
        assert_agree(alone.values, wanted[2], requests)


def assert_agree(
    result: Sequence[tuple[float, bool]], wanted: Sequence[Wanted], requests: Sequence[Instance]
) -> None:
    for one, other, request in zip(result, wanted, requests, strict=True):
        assert other.agrees(one), (request.args, one, other)
