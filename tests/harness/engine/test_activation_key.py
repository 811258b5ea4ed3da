"""Kept activations are those of the weights and the tokens that are asked about, and no others."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from steereval.harness.engine.fit_request import FitRequest
from steereval.harness.engine.fitter import Fitter
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.models.checkpoints.fingerprint import hash_of_weights, versions_of
from steereval.models.steering.hook_points import Site
from steereval.tasks.contrast.registry import ContrastSet, load_contrast

Fit = Callable[..., Tensor]


@pytest.fixture(scope="module")
def contrast() -> ContrastSet:
    return load_contrast("truthful-mini", answers="best").subset(0.05, 0)


@pytest.fixture(scope="module")
def model(tiny_folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)


def steered(pretrained: Any, **options: Any) -> SteeredLM:
    lm = SteeredLM(pretrained, method="none", device="cpu", dtype="float32", **options)
    lm.quiet = True
    return lm


def vector_of(fitter: Fitter, contrast: ContrastSet, template: str = "qa") -> Tensor:
    artefact = fitter.fit(contrast, FitRequest("caa", {}, "1", template, 1.0, 0), None)
    return artefact.steerers[Site(1)].tensors()["vector"]


@pytest.fixture
def fit(contrast: ContrastSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """The vector that a new process fits, which finds what the ones before it have kept."""

    def fitted(lm: SteeredLM, template: str = "qa", cache: str = "shared") -> Tensor:
        monkeypatch.setattr(
            "steereval.harness.engine.activations.cache_folder", lambda: tmp_path / cache
        )
        return vector_of(Fitter(lm), contrast, template)

    return fitted


def check(fit: Fit, before: SteeredLM, after: SteeredLM, template: str = "qa") -> None:
    """The fit on `after` is what it is with an empty cache, and not that of `before`."""
    old = fit(before, template)
    result = fit(after, template)
    assert not torch.equal(result, old)
    assert torch.equal(result, fit(after, template, cache="empty"))


def test_a_first_token(fit: Fit, tiny_folder: str) -> None:
    lms = [steered(tiny_folder, add_bos_token=each) for each in (False, True)]
    check(fit, *lms)


def test_an_edited_chat_template(fit: Fit, tiny_folder: str) -> None:
    """Of a model that is handed in, so that not even its folder is another."""
    lms = [steered(tiny_folder), steered(tiny_folder)]
    lms[1].tokenizer = copy.deepcopy(lms[1].tokenizer)
    lms[1].tokenizer.chat_template = lms[0].tokenizer.chat_template.replace("You are", "Be")
    assert lms[0].chat("Q", "A") != lms[1].chat("Q", "A")
    check(fit, *lms, template="chat")


@pytest.mark.slow
def test_another_tokenizer(fit: Fit, tiny_folder: str, tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path / "lower")
    file = tmp_path / "lower/tokenizer.json"
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": "Lowercase"}})
    )
    check(fit, steered(tiny_folder), steered(tiny_folder, tokenizer=str(tmp_path / "lower")))


@pytest.mark.parametrize("in_place", [True, False])
def test_one_edited_row_of_the_embedding(
    fit: Fit, model: Any, tiny_folder: str, in_place: bool
) -> None:
    """Also where PyTorch does not hear of it."""
    other = copy.deepcopy(model)
    row = AutoTokenizer.from_pretrained(tiny_folder)("Q:")["input_ids"][0]
    weight = other.get_input_embeddings().weight
    with torch.no_grad():
        (weight if in_place else weight.data)[row] += 1.0
    check(fit, *(steered(each, tokenizer=tiny_folder) for each in (model, other)))


@pytest.mark.slow
def test_an_edited_adapter(fit: Fit, model: Any, tiny_folder: str) -> None:
    """Its tensors, and how strongly it acts, which no tensor says."""
    from peft import LoraConfig, get_peft_model

    def adapted(alpha: float, change: float) -> SteeredLM:
        torch.manual_seed(0)
        config = LoraConfig(r=2, lora_alpha=1, target_modules=["q_proj", "v_proj"])
        result = get_peft_model(copy.deepcopy(model), config)
        for name, parameter in result.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 1 + change)
        for module in result.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling["default"] = alpha
        return steered(result.eval(), tokenizer=tiny_folder)

    check(fit, adapted(1.0, 0.0), adapted(1.0, 0.5))
    check(fit, adapted(2.0, 0.0), adapted(3.0, 0.0))


def test_what_changes_under_a_fitter_is_fitted_again(
    contrast: ContrastSet, model: Any, tiny_folder: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What it holds in memory goes with the weights, the tokenizer or the template."""
    monkeypatch.setattr("steereval.harness.engine.activations.cache_folder", lambda: tmp_path)
    lm = steered(copy.deepcopy(model), tokenizer=tiny_folder)
    fitter = Fitter(lm)
    vectors = [vector_of(fitter, contrast), vector_of(fitter, contrast, "chat")]
    passes = fitter.store.passes
    assert torch.equal(vector_of(fitter, contrast), vectors[0])
    assert fitter.store.passes == passes
    lm.tokenizer.chat_template = lm.tokenizer.chat_template.replace("You are", "Be")
    assert not torch.equal(vector_of(fitter, contrast, "chat"), vectors[1])
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(1.5)
    assert not torch.equal(vector_of(fitter, contrast), vectors[0])
    assert torch.equal(vector_of(fitter, contrast), vector_of(Fitter(lm), contrast))


def test_the_same_tokens_and_weights_are_read_once(
    fit: Fit, contrast: ContrastSet, model: Any, tiny_folder: str
) -> None:
    """From a folder or handed in, and under a chat template that is not used."""
    first, other = steered(tiny_folder, path="plain"), steered(model, tokenizer=tiny_folder)
    other.steering = first.steering
    other.steering_backend.sharing = first.steering_backend.sharing
    other.tokenizer.chat_template = "{{ messages }}"
    fit(first)
    again = Fitter(other)
    vector_of(again, contrast)
    assert again.store.passes == 0


def test_paths_have_states_of_their_own(fit: Fit, tiny_folder: str, contrast: ContrastSet) -> None:
    """They round otherwise."""
    fit(steered(tiny_folder))
    again = Fitter(steered(tiny_folder, path="plain"))
    vector_of(again, contrast)
    assert again.store.passes == 1


def test_weights_that_are_not_in_memory_are_not_kept(
    fit: Fit, tiny_folder: str, contrast: ContrastSet, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(SteeredLM, "weights_hash", lambda _: None)
    lm = steered(tiny_folder)
    fit(lm)
    assert not (tmp_path / "shared").exists()


def test_every_bit_of_the_weights_counts(model: Any) -> None:
    first = hash_of_weights(model)
    for tensor in list(model.parameters())[:: len(list(model.parameters())) // 4]:
        flat = tensor.data.view(-1)
        saved = flat[-2].clone()
        flat[-2] = torch.nextafter(saved, saved + 1)
        assert hash_of_weights(model) != first
        flat[-2] = saved
    assert hash_of_weights(model) == first


def test_the_state_of_weights(model: Any) -> None:
    other = copy.deepcopy(model)
    before = versions_of(other)
    other(input_ids=torch.tensor([[1, 2, 3]]))
    assert versions_of(other) == before
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1
    assert versions_of(other) != before


def test_weights_elsewhere_have_no_hash() -> None:
    assert hash_of_weights(torch.nn.Linear(2, 2, device="meta")) is None


@pytest.mark.slow
def test_states_below_the_steering_go_with_the_weights(model: Any, tiny_folder: str) -> None:
    """Those that a model keeps between requests."""
    from lm_eval.api.instance import Instance

    def request_key(lm: SteeredLM) -> Any:
        pairs = [("Q: Is it?\nA:", " Yes."), ("Q: Is it?\nA:", " No.")]
        requests = [
            Instance("loglikelihood", {"question": None}, pair, i) for i, pair in enumerate(pairs)
        ]
        return lm.loglikelihood(requests, True)

    options = {"steerer": None, "strength": 1.0, "layer": 1, "contrast": "truthful-mini"}
    lm = SteeredLM(
        copy.deepcopy(model), tokenizer=tiny_folder, method="caa", fraction=0.1, device="cpu",
        dtype="float32", **options,
    )  # fmt: skip
    before = request_key(lm)
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(1.5)
    after = request_key(lm)
    assert lm.steering_backend.lower_blocks is not None
    lm.forget()
    assert request_key(lm) == after != before


def test_prompts_of_another_chat_template_have_another_name(tiny_folder: str) -> None:
    """For the requests that lm-eval keeps."""
    lms = [steered(tiny_folder), steered(tiny_folder)]
    assert lms[0].tokenizer_name == lms[1].tokenizer_name
    lms[1].tokenizer.chat_template = "{{ messages }}"
    assert lms[0].tokenizer_name != lms[1].tokenizer_name
