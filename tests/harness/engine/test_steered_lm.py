"""The steered model compared with lm-eval's own Hugging Face model, on random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_requests import choice_requests, instance, writing_requests
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessor,
)

from steereval import fit_steerer, load_steerer, steering
from steereval.common.errors import CellError, ContrastError, InputError, ModelError
from steereval.harness.config.grid import ModelSpec
from steereval.harness.config.model_args import split_options
from steereval.harness.engine import hf_backend
from steereval.harness.engine.loading import WorkerSettings, load_model
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.treatments import from_artefact
from steereval.models.artefacts.artefact import Artefact, save_artefact, with_questions
from steereval.models.inference.onednn_linear import OneDNNLinear
from steereval.models.steering.hook_points import Site
from steereval.models.steering.positions import Positions
from steereval.tasks.contrast.registry import load_contrast

STRENGTH = 0.05
"""Weak enough that Euler's steps do not magnify rounding."""


@pytest.fixture(scope="module")
def hf(tiny_folder: str) -> HFLM:
    return HFLM(tiny_folder, device="cpu", dtype="float32", batch_size=4)


@contextmanager
def at(lm: SteeredLM, strength: float, sharing: bool = True, **changes: Any) -> Iterator[SteeredLM]:
    """`lm` at another strength, on the path asked for."""
    treatment, was_sharing = lm.treatment, lm.steering_backend.sharing
    lm.treatment = dataclasses.replace(treatment, strength=strength, **changes)
    lm.steering_backend.sharing = sharing
    try:
        yield lm
    finally:
        lm.treatment, lm.steering_backend.sharing = treatment, was_sharing


def gap(first: list[tuple[float, bool]], second: list[tuple[float, bool]]) -> float:
    return max(abs(a[0] - b[0]) for a, b in zip(first, second, strict=True))


def test_strength_0_is_lm_evals_own_model(lm: SteeredLM, hf: HFLM, tiny_folder: str) -> None:
    requests = choice_requests(8)
    expected = hf.loglikelihood(requests, disable_tqdm=True)
    options = {"device": "cpu", "dtype": "float32", "batch_size": 4}
    exact = SteeredLM(tiny_folder, path="plain", **options).loglikelihood(requests, True)
    assert exact == expected
    with at(lm, 0, sharing=False):
        plain = lm.loglikelihood(requests)
    with at(lm, 0, sharing=True):
        shared = lm.loglikelihood(requests)
    assert max(gap(plain, expected), gap(shared, expected)) <= 1e-4
    assert [g for _, g in plain] == [g for _, g in shared] == [g for _, g in expected]


def test_products_are_onednns_unless_lm_evals_own_are_asked_for(tiny_folder: str) -> None:
    def kinds(model: Any, **options: Any) -> set[type]:
        lm = SteeredLM(model, device="cpu", dtype="float32", **options)
        return {type(module) for module in lm.model.modules()} & {OneDNNLinear, nn.Linear}

    handed_in = AutoModelForCausalLM.from_pretrained(tiny_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    assert kinds(tiny_folder) == {OneDNNLinear}
    assert kinds(tiny_folder, path="plain") == {nn.Linear}
    assert kinds(handed_in, tokenizer=tokenizer) == {nn.Linear}


def test_strength_0_writes_what_lm_evals_own_model_writes(lm: SteeredLM, hf: HFLM) -> None:
    requests = writing_requests(6)
    with at(lm, 0):
        assert lm.generate_until(requests) == hf.generate_until(requests, disable_tqdm=True)


def test_strength_0_gives_the_same_rolling_likelihood(lm: SteeredLM, hf: HFLM) -> None:
    text = "The moon is made of rock. It circles the earth in about a month."
    requests = [instance("loglikelihood_rolling", "?", (text,))]
    with at(lm, 0):
        ours = lm.loglikelihood_rolling(requests)
    assert ours == pytest.approx(hf.loglikelihood_rolling(requests, disable_tqdm=True), abs=1e-4)


@pytest.mark.slow
def test_the_batch_does_not_matter_under_steering(lm: SteeredLM) -> None:
    requests = choice_requests(6)
    results = []
    for size in (1, 16):
        lm.batch_size_per_gpu = size
        with at(lm, STRENGTH, sharing=False):
            results.append(lm.loglikelihood(requests))
    lm.batch_size_per_gpu = 4
    with at(lm, STRENGTH, sharing=True):
        results.append(lm.loglikelihood(requests))
        results.append([lm.loglikelihood([request])[0] for request in requests])
    assert max(gap(results[0], other) for other in results[1:]) <= 1e-4


def test_steering_changes_the_answers(lm: SteeredLM) -> None:
    requests = choice_requests(3)
    with at(lm, 0):
        before = lm.loglikelihood(requests)
    with at(lm, STRENGTH):
        after = lm.loglikelihood(requests)
    assert gap(before, after) > 0.05


@pytest.mark.parametrize("sharing", [True, False])
def test_a_greedy_continuation_is_as_likely_as_generation_found_it(
    lm: SteeredLM, sharing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both paths measure the same intervention: log-probabilities of the tokens that greedy
    decoding chose, from `generate` and from the likelihood path."""
    (request,) = writing_requests(1)
    logits: list[torch.Tensor] = []

    class Recorder(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            logits.append(scores.clone())
            return scores

    monkeypatch.setattr(hf_backend, "Finite", Recorder)
    with at(lm, STRENGTH, sharing=sharing):
        lm.generate_until([request], disable_tqdm=True)
        answer = [int(scores.argmax()) for scores in logits][:8]
        total = sum(float(s.log_softmax(-1)[0, t]) for s, t in zip(logits, answer, strict=False))
        tokens = lm.tok_encode(request.args[0])
        pair = Instance("loglikelihood", request.doc, ("prompt", "answer"), 0)
        monkeypatch.setattr(lm, "_encode_pair", lambda *_: (tokens, answer))
        ((value, is_greedy),) = lm.loglikelihood([pair], disable_tqdm=True)
    assert is_greedy, "the continuation is not greedy on the likelihood path"
    assert value == pytest.approx(total, abs=1e-4)


def test_items_are_steered_by_what_did_not_see_them(lm: SteeredLM) -> None:
    folds = {lm.treatment.route(request.doc) for request in choice_requests(30)}
    assert folds == {0, 1}
    cards = [lm.treatment.fit(fold).card for fold in (0, 1)]
    assert [card["fold_left_out"] for card in cards] == [0, 1]
    assert lm.treatment.route({"question": "Is this question in the set?"}) is None


def test_a_response_cache_is_refused(lm: SteeredLM, tmp_path: Any) -> None:
    with pytest.raises(InputError, match="--use_cache"):
        CachingLM(lm, str(tmp_path / "cache.db"))


def test_hooks_are_gone_after_an_error(lm: SteeredLM) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    blocks = lm.model.model.layers
    blocks[2].register_forward_pre_hook(broken)
    try:
        with at(lm, STRENGTH), pytest.raises(RuntimeError, match="broken"):
            lm.loglikelihood(choice_requests(1))
        with at(lm, STRENGTH), pytest.raises(RuntimeError, match="broken"):
            lm.generate_until(writing_requests(1))
    finally:
        blocks[2]._forward_pre_hooks.clear()
    assert all(not module._forward_hooks for module in lm.model.modules())
    assert all(not module._forward_pre_hooks for module in lm.model.modules())


def test_an_overflow_is_an_error_of_the_cell(lm: SteeredLM) -> None:
    with at(lm, 1e39), pytest.raises(CellError, match="not finite"):
        lm.loglikelihood(choice_requests(1))


def test_positions_that_reach_into_the_prompt_need_to_know_its_own_text(lm: SteeredLM) -> None:
    requests = choice_requests(2)
    with at(lm, STRENGTH, positions=Positions("all")):
        with pytest.raises(InputError, match="where its few-shot text ends"):
            lm.loglikelihood(requests)
        lm.own_text = lambda request: request.args[0]
        try:
            everything = lm.loglikelihood(requests)
        finally:
            lm.own_text = None
    with at(lm, STRENGTH):
        assert gap(everything, lm.loglikelihood(requests)) > 1e-3


def test_few_shot_text_is_never_steered(lm: SteeredLM) -> None:
    """With everything but the question shielded, all positions and a longer primer agree with
    steering from the question on."""
    question, answer = "Q: What is tea?\nA:", " A drink made from leaves."
    primer = "Q: What is bread?\nA: A food made from flour.\n\n"
    request = [instance("loglikelihood", "?", (primer + question, answer))]
    shots, length = len(lm.tok_encode(primer)), len(lm.tok_encode(primer + question))
    lm.own_text = lambda _: question
    try:
        with at(lm, STRENGTH, positions=Positions("all")):
            all_of_it = lm.loglikelihood(request)
        with at(lm, STRENGTH, positions=Positions("prompt")):
            prompt = lm.loglikelihood(request)
        with at(lm, STRENGTH, positions=Positions(f"0:{length - shots}")):
            same_prompt = lm.loglikelihood(request)
    finally:
        lm.own_text = None
    assert gap(prompt, same_prompt) <= 1e-6
    assert gap(all_of_it, prompt) > 1e-4


def test_bos_is_never_steered(lm: SteeredLM) -> None:
    """An empty context is the BOS token alone: only the fed-back answer is steered."""
    request = [instance("loglikelihood", "?", ("", "T"))]
    single = lm.tok_encode("T")
    assert len(single) == 1
    with at(lm, 0):
        before = lm.loglikelihood(request)
    with at(lm, STRENGTH):
        (after,) = lm.answer("loglikelihood", request, [lm.treatment], [0])
    assert gap(before, after.values) == 0
    assert after.acts
    assert not after.moved


def test_a_chat_template_wraps_question_and_answer_once(lm: SteeredLM) -> None:
    text = lm.chat("What is tea?", "A drink.")
    tokens = lm.encode(text, special_tokens=False)
    assert text.endswith("A drink.")
    assert tokens.count(lm.tokenizer.convert_tokens_to_ids("<|im_start|>")) == text.count(
        "<|im_start|>"
    )


@pytest.mark.slow
def test_a_peft_model_is_steered_at_the_same_blocks(tiny_folder: str, tmp_path: Any) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    adapter = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    adapter.save_pretrained(tmp_path / "adapter")
    model = SteeredLM(
        tiny_folder,
        peft=str(tmp_path / "adapter"),
        method="caa",
        contrast="truthful-mini",
        answers="best",
        fraction=0.1,
        layer=1,
        strength=4,
        device="cpu",
        dtype="float32",
    )
    model.quiet = True
    steered = model.loglikelihood(choice_requests(2))
    with at(model, 0):
        assert gap(steered, model.loglikelihood(choice_requests(2))) > 0.01


def test_options_are_distinguished() -> None:
    steering, method, loader = split_options(
        {"method": "odesteer", "steps": "20", "batch_size": 8, "attn_implementation": "eager"}
    )
    assert steering.method == "odesteer"
    assert method == {"steps": "20"}
    assert loader == {"batch_size": 8, "attn_implementation": "eager"}
    with pytest.raises(InputError, match="Did you mean 'strength'"):
        split_options({"strenght": 5})


def test_an_option_whose_name_others_have_is_given_by_prefix() -> None:
    """lm-eval always passes its own batch_size, which no training may take for its own."""
    _, method, loader = split_options({"method": "hpr", "batch_size": 8, "option.batch_size": 4})
    assert (method, loader) == ({"batch_size": 4}, {"batch_size": 8})
    steering, method, _ = split_options({"method": "vector", "option.path": "v.gguf"})
    assert (steering.path, method) == ("auto", {"path": "v.gguf"})
    _, method, _ = split_options({"method": "conditional", "option.method": "repe"})
    assert method == {"method": "repe"}
    with pytest.raises(InputError, match=r"odesteer.*'step'"):
        split_options({"method": "odesteer", "option.step": 4})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 30, "strength": 1, "contrast": "truthful-mini"}, "layer 30 is out of range"),
        ({"layer": 1, "contrast": "truthful-mini"}, "no strength was given"),
        ({"strength": 1, "contrast": "truthful-mini"}, "no layer was given"),
        ({"layer": 1, "strength": 1}, "has nothing to be fitted to"),
        (
            {"layer": 1, "strength": 1, "contrast": "truthful-mini", "unit": "abs"},
            "unknown unit",
        ),
        (
            {"layer": 1, "strength": 1, "contrast": "truthful-mini", "positions": "here"},
            "unknown positions",
        ),
        (
            {"layer": 1, "strength": 1, "contrast": "truthful-mini", "answers": "some"},
            "unknown answers",
        ),
        ({"steerer": "nowhere", "strength": 1}, "no steerer folder"),
    ],
)
def test_what_cannot_be_steered_is_said(
    tiny_folder: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((InputError, ModelError), match=message):
        SteeredLM(tiny_folder, device="cpu", dtype="float32", **options)


def test_requests_keep_their_order_across_folds(lm: SteeredLM) -> None:
    requests: list[Instance] = choice_requests(8)
    with at(lm, STRENGTH):
        together = lm.loglikelihood(requests)
        backwards = lm.loglikelihood(requests[::-1])[::-1]
    assert gap(together, backwards) <= 1e-4


def test_a_run_in_bfloat16_takes_its_logarithms_in_float32(tiny_folder: str) -> None:
    """Else every token's would be a multiple of a sixteenth, and items tie by rounding."""
    lm = load_model(ModelSpec(tiny_folder, (), "bfloat16"), WorkerSettings("", None, 4, "cpu"))
    values = [value for value, _ in lm.loglikelihood(choice_requests(3))]
    assert any(32 * value != round(32 * value) for value in values)


@pytest.mark.parametrize("positions", ["generated", "all"])
def test_steering_in_python_writes_the_same_texts(
    tiny_folder: str, tmp_path: Path, positions: str
) -> None:
    draw = torch.Generator().manual_seed(3)
    steerer = fit_steerer("odesteer", *torch.randn(2, 20, 32, generator=draw), components=64)
    steerer.save(tmp_path / "steerer", layer=1)
    lm = SteeredLM(
        tiny_folder, steerer=str(tmp_path / "steerer"), strength=9.0, positions=positions,
        device="cpu", dtype="float32", batch_size=4, steer_fewshot=True,
    )  # fmt: skip
    requests = writing_requests(4)
    expected = lm.generate_until(requests, disable_tqdm=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    inputs = tokenizer([request.args[0] for request in requests], return_tensors="pt", padding=True)
    loaded = load_steerer(tmp_path / "steerer")
    with steering(model, {1: loaded}, strength=9.0, positions=positions):
        ids = model.generate(
            inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=12,
            do_sample=False, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [text.split("\n")[0] for text in texts] == expected


def test_a_steerer_is_not_tested_on_the_questions_that_it_was_fitted_to(
    tiny_folder: str, tmp_path: Path
) -> None:
    pairs = load_contrast("truthful-mini")
    steerer = fit_steerer("caa", torch.ones(2, 32), torch.zeros(2, 32))
    artefact = with_questions(Artefact({Site(1): steerer}, {}), pairs.keys)
    save_artefact(artefact, tmp_path / "steerer")
    treatment = from_artefact(tmp_path / "steerer", 4.0, "absolute", Positions("generated"))
    question = next(s.question for s in pairs.statements if s.question is not None)
    with pytest.raises(ContrastError, match="was fitted to the question"):
        treatment.route({"question": question})
    assert treatment.route({"question": "What has nobody ever asked before?"}) is None
    assert treatment.route({"text": "no question"}) is None
