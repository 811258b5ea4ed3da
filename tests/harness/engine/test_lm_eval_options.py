"""Options and requests of lm-eval's own model: what it takes, and what neither can answer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_requests import choice_requests, instance, writing_requests
from lm_eval.models.huggingface import HFLM

from steereval.common.errors import CellError, InputError, ModelError, UnknownNameError
from steereval.harness.config.grid import parse_grid
from steereval.harness.engine.lm_eval_program import is_lm_eval
from steereval.harness.engine.loaded_lm import LoadedLM
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.treatments import unfitted
from steereval.harness.planning.preflight import prepare
from steereval.models import fit_steerer
from steereval.models.artefacts.artefact import Artefact
from steereval.models.inference.generation import prefilled
from steereval.models.steering.hook_points import Site
from steereval.models.steering.positions import Positions

OPTIONS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "batch_size": 3}


@pytest.fixture(scope="module")
def hf(tiny_folder: str) -> HFLM:
    return HFLM(tiny_folder, max_length=64, **OPTIONS)


@pytest.fixture(scope="module")
def ours(tiny_folder: str) -> SteeredLM:
    return SteeredLM(tiny_folder, max_length=64, **OPTIONS)


def likelihoods(lm: HFLM) -> list[float]:
    return [value for value, _ in lm.loglikelihood(choice_requests(4), disable_tqdm=True)]


def test_mixed_precision_is_lm_evals_own(tiny_folder: str, hf: HFLM) -> None:
    """To the bit, in the same passes."""
    mixed = {**OPTIONS, "mixed_precision_dtype": "bfloat16", "logits_cache": False}
    wanted = likelihoods(HFLM(tiny_folder, **mixed))
    assert wanted != pytest.approx(likelihoods(hf), abs=1e-3), "the option changes nothing"
    assert likelihoods(SteeredLM(tiny_folder, path="plain", **mixed)) == wanted


def test_mixed_precision_where_prefixes_are_shared(tiny_folder: str, hf: HFLM) -> None:
    """As near to full precision as lm-eval's own."""
    mixed = {**OPTIONS, "mixed_precision_dtype": "bfloat16", "softmax_dtype": "float32"}
    full = likelihoods(hf)
    wanted, result = (
        [abs(a - b) for a, b in zip(likelihoods(kind(tiny_folder, **mixed)), full, strict=True)]
        for kind in (HFLM, SteeredLM)
    )
    assert max(wanted) / 4 < max(result) < 4 * max(wanted)


def test_generation_in_mixed_precision(tiny_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rows share is kept in the precision in which generation goes on."""
    lm = SteeredLM(tiny_folder, **OPTIONS, mixed_precision_dtype="bfloat16")
    caches: list[torch.Tensor] = []

    def noting(*given: Any) -> Any:
        cache = prefilled(*given)
        caches.append(cache.layers[0].values.clone())
        return cache

    monkeypatch.setattr("steereval.harness.engine.hf_backend.prefilled", noting)
    draw = torch.Generator().manual_seed(0)
    steerer = fit_steerer("caa", *torch.randn(2, 20, 32, generator=draw))
    steered = unfitted(
        Artefact({Site(1): steerer}, {}), "caa", 30.0, "absolute", Positions("generated")
    )
    plain, moved = lm.answer("generate_until", writing_requests(1), [lm.treatment, steered], [0, 0])
    (values,) = caches
    assert torch.equal(values, values.bfloat16().to(values.dtype))
    assert plain.values != moved.values


def test_lm_evals_inner_calls_work_by_themselves(hf: HFLM, ours: SteeredLM) -> None:
    """Outside of a request there is nothing that steers, even after one."""
    ours.generate_until(writing_requests(2), disable_tqdm=True)
    written = []
    for lm in (hf, ours):
        ids, mask = lm.tok_batch_encode(["foo bar", "The moon is"])
        raw = lm._model_generate(ids, max_length=12, stop=["\n\n"], attention_mask=mask)
        alone = lm._model_generate(ids[1:], max_length=12, stop=["\n\n"])
        pairs = [(("a", "b"), [5, 6, 7], [8, 9]), (None, [5], [7])]
        scored = lm._loglikelihood_tokens(pairs, disable_tqdm=True)
        written.append((raw.tolist(), alone.tolist(), [value for value, _ in scored]))
    assert written[0][:2] == written[1][:2]
    assert written[0][2] == pytest.approx(written[1][2], abs=1e-4)


@pytest.mark.parametrize("tokens", [65, 66, 80, 200])
def test_a_continuation_longer_than_the_window_is_an_error(
    hf: HFLM, ours: SteeredLM, tokens: int
) -> None:
    """As it is in lm-eval: part of it could not be scored."""
    request = [instance("loglikelihood", "?", ("Q: What is tea?\nA:", " the" * tokens))]
    with pytest.raises(AssertionError):
        hf.loglikelihood(request, disable_tqdm=True)
    with pytest.raises(CellError, match=f"a continuation of {tokens} tokens leaves no room"):
        ours.loglikelihood(request, disable_tqdm=True)


def test_a_continuation_as_long_as_the_window_is_scored(hf: HFLM, ours: SteeredLM) -> None:
    request = [instance("loglikelihood", "?", ("Q: What is tea?\nA:", " the" * 64))]
    (wanted,), (likelihood,) = (lm.loglikelihood(request, disable_tqdm=True) for lm in (hf, ours))
    assert likelihood[0] == pytest.approx(wanted[0], abs=1e-3)


def test_a_prompt_of_spaces_is_an_error(hf: HFLM, ours: SteeredLM) -> None:
    request = [instance("loglikelihood", "?", ("  ", "tea"))]
    with pytest.raises(AssertionError):
        hf.loglikelihood(request, disable_tqdm=True)
    with pytest.raises(CellError, match="a prompt has no tokens"):
        ours.loglikelihood(request, disable_tqdm=True)


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_virtual_tokens_are_refused(tiny_folder: str, tmp_path: Path, kind: str) -> None:
    """Their likelihoods would be those of other tokens: every position is shifted."""
    import peft
    from transformers import AutoModelForCausalLM

    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=4)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match="virtual tokens"):
        SteeredLM(tiny_folder, peft=str(tmp_path / "adapter"), **OPTIONS)


@pytest.mark.parametrize("path", ["plain", "shared"])
def test_an_automatic_batch_size_needs_no_trial_of_the_longest_text(
    tiny_folder: str, ours: SteeredLM, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """lm-eval's trial passes over 64 texts of the model's length take hours on a CPU."""
    automatic = SteeredLM(
        tiny_folder, max_length=64, path=path, device="cpu", dtype="float32", batch_size="auto"
    )

    def detect(requests: Any = None, pos: int = 0) -> int:
        assert requests, "a trial without requests"
        return 2

    monkeypatch.setattr(automatic, "_detect_batch_size", detect)
    writing = writing_requests(3)
    texts = automatic.generate_until(writing, disable_tqdm=True)
    assert texts == ours.generate_until(writing, disable_tqdm=True)
    assert likelihoods(automatic) == pytest.approx(likelihoods(ours), abs=1e-4)
    rolling = [instance("loglikelihood_rolling", "", ("The cat sat on the mat.",))]
    values = automatic.loglikelihood_rolling(rolling, disable_tqdm=True)
    assert values == pytest.approx(ours.loglikelihood_rolling(rolling, disable_tqdm=True), abs=1e-4)
    assert automatic.batch_size == "auto"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"load_in_8bit": True}, ["bitsandbytes", "remove load_in_8bit"]),
        ({"no_such_option": 1}, ["Remove no_such_option"]),
    ],
)
def test_an_option_that_the_model_cannot_take_is_named_in_the_remedy(
    tiny_folder: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        LoadedLM(tiny_folder, False, **OPTIONS, **options)
    assert all(word in caught.value.remedy for word in words)


def test_several_responses_to_an_item_are_refused(ours: SteeredLM) -> None:
    sampled = {"do_sample": True, "num_return_sequences": 2, "max_gen_toks": 4, "until": []}
    with pytest.raises(CellError) as caught:
        ours.generate_until([instance("generate_until", "", ("Hello", sampled))], True)
    assert "num_return_sequences=2" in caught.value.problem
    assert "seeds" in caught.value.remedy


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/lm_eval", True),
        ("lm-eval", True),
        ("/x/site-packages/lm_eval/__main__.py", True),
        ("/x/steereval/__main__.py", False),
        ("pytest", False),
        ("", False),
    ],
)
def test_programs_of_lm_eval(program: str, expected: bool) -> None:
    assert is_lm_eval(program) is expected


def test_errors_end_lm_evals_program_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lm_eval"])
    for error, is_sentence in ((InputError("no", "Say yes."), True), (ValueError("no"), False)):
        with pytest.raises(UnknownNameError):
            SteeredLM.create_from_arg_string("pretrained=x,method=caaa")
        sys.excepthook(type(error), error, None)
        assert (capsys.readouterr().err == "steereval: error: no. Say yes.\n") is is_sentence


def test_other_programs_keep_their_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "argv", ["mine.py"])
    with pytest.raises(UnknownNameError):
        SteeredLM.create_from_arg_obj({"pretrained": "x", "method": "caaa"})
    assert sys.excepthook is sys.__excepthook__


def test_an_error_of_a_request_names_its_text(ours: SteeredLM) -> None:
    request = instance("loglikelihood", "", ("The capital of France is", ""))
    with pytest.raises(CellError) as caught:
        ours.loglikelihood([*choice_requests(1), request], disable_tqdm=True)
    assert "The capital of France is" in caught.value.problem


def test_the_file_of_a_vector_is_an_option_of_the_method(tiny_folder: str, tmp_path: Path) -> None:
    torch.save({2: torch.ones(32)}, tmp_path / "v.pt")
    arguments: dict[str, Any] = {"method": "vector", "layer": -1, "strength": 3.0, **OPTIONS}
    with pytest.raises(InputError) as caught:
        SteeredLM(tiny_folder, path=str(tmp_path / "v.pt"), **arguments)
    assert f"option.path={tmp_path}" in caught.value.remedy
    last = SteeredLM(tiny_folder, **arguments, **{"option.path": str(tmp_path / "v.pt")})
    named = SteeredLM(
        tiny_folder, **(arguments | {"layer": 2}), **{"option.path": str(tmp_path / "v.pt")}
    )
    assert likelihoods(last) == likelihoods(named)


@pytest.mark.parametrize("layer", ["-4", "1+-2", "x", "1+1", ""])
def test_layers_that_the_model_lacks(tiny_folder: str, layer: str) -> None:
    with pytest.raises(InputError, match="names no blocks"):
        SteeredLM(
            tiny_folder, method="caa", contrast="truthful-mini", layer=layer, strength=1, **OPTIONS
        )


def folder_with_tokens(model: str, folder: Path, **tokens: str) -> str:
    """The model of the folder `model` with a tokenizer that has these special tokens alone."""
    from small_tokenizer import small_tokenizer
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(model, folder)
    for name in ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    backend = small_tokenizer().backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend, **tokens).save_pretrained(folder)
    return str(folder)


def test_a_tokenizer_without_special_tokens_is_refused(tiny_folder: str, tmp_path: Path) -> None:
    bare = folder_with_tokens(tiny_folder, tmp_path / "bare")
    with pytest.raises(ModelError, match="neither a BOS nor an EOS"):
        SteeredLM(bare, **OPTIONS)
    grid = {"name": "x", "models": [{"name": bare, "layers": [1]}], "methods": ["none"],
            "tasks": ["truthful_mini_mc"]}  # fmt: skip
    with pytest.raises(ModelError, match="neither a BOS nor an EOS"):
        prepare(parse_grid(grid), None, lambda line: None)


def test_a_tokenizer_with_a_bos_token_alone_scores(tiny_folder: str, tmp_path: Path) -> None:
    """As lm-eval's own model; it cannot end a text, which generation says."""
    only = folder_with_tokens(tiny_folder, tmp_path / "bos", bos_token="<|im_start|>")
    ours, hf = SteeredLM(only, **OPTIONS), HFLM(only, **OPTIONS)
    requests = choice_requests(3)
    expected = hf.loglikelihood(requests, disable_tqdm=True)
    scored = ours.loglikelihood(requests, disable_tqdm=True)
    assert [each[0] for each in scored] == pytest.approx([each[0] for each in expected], abs=1e-3)
    with pytest.raises(CellError, match="no EOS token"):
        ours.generate_until([instance("generate_until", "", ("Q: tea?", {"max_gen_toks": 2}))])


def test_a_tokenizer_with_an_eos_token_alone_works(tiny_folder: str, tmp_path: Path) -> None:
    only = folder_with_tokens(tiny_folder, tmp_path / "eos", eos_token="<|im_end|>")
    ours, hf = SteeredLM(only, **OPTIONS), HFLM(only, **OPTIONS)
    requests = choice_requests(3)
    expected = hf.loglikelihood(requests, disable_tqdm=True)
    scored = ours.loglikelihood(requests, disable_tqdm=True)
    assert [each[0] for each in scored] == pytest.approx([each[0] for each in expected], abs=1e-3)
    writing = [
        instance("generate_until", "", (text, {"until": ["\n"], "max_gen_toks": 3}))
        for text in ("Q: tea?\nA:", "Q: What is this?\nA:")
    ]
    assert ours.generate_until(writing, disable_tqdm=True) == hf.generate_until(
        writing, disable_tqdm=True
    )
    text = [instance("loglikelihood_rolling", "", ("tea is good",))]
    assert ours.loglikelihood_rolling(text, disable_tqdm=True) == pytest.approx(
        hf.loglikelihood_rolling(text, disable_tqdm=True), abs=1e-3
    )
