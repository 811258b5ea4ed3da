"""`model_args` of a grid's model: what may stand there, identity, and what reaches the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer, dynamic_module_utils

from steereval.common.errors import GridError, ModelError
from steereval.harness.config.grid import Grid, ModelSpec, load_grid, parse_grid, plain
from steereval.harness.config.model_args import LOADER_OPTIONS, hf_options
from steereval.harness.engine import loaded_lm
from steereval.harness.engine.loading import WorkerSettings, load_model
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.token_counting import TokenCountingLM
from steereval.harness.planning.model_content import content_of_model
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.preflight import check_model
from steereval.harness.run.driver import run_grid
from steereval.harness.run.group_work import affinity
from steereval.results.store.run_folder import RunFolder


def grid(model: dict[str, Any], **changes: Any) -> Grid:
    data: dict[str, Any] = {
        "name": "g",
        "models": [{"layers": [1]} | model],
        "methods": ["none"],
        "tasks": [{"name": "truthful_mini_mc", "limit": 3}],
    }
    return parse_grid(data | changes)


def refusal(**args: Any) -> GridError:
    with pytest.raises(GridError) as caught:
        grid({"name": "m", "model_args": args})
    return caught.value


def test_a_misspelt_option_gets_the_nearest_name() -> None:
    error = refusal(tokenzier="x")
    assert "tokenzier" in error.problem
    assert error.remedy == "Did you mean 'tokenizer'?"


@pytest.mark.parametrize(
    ("args", "remedy"),
    [
        ({"pretrained": "x"}, "name"),
        ({"device": "cpu"}, "run"),
        ({"batch_size": 4}, "run"),
        ({"parallelize": True}, "gpus"),
        ({"tp_plan": "auto"}, "gpus"),
        ({"token": "hf_secret"}, "HF_TOKEN"),
        ({"autogptq": True}, "Transformers"),
        ({"logits_cache": True}, "Remove"),
        ({"backend": "seq2seq"}, "decoder-only"),
        ({"layer": 3}, "methods"),
        ({"enable_thinking": True}, "think_end_token"),
        ({"max_memory_per_gpu": "10GB"}, "gpus"),
    ],
)
def test_what_cannot_be_honoured_is_refused(args: dict[str, Any], remedy: str) -> None:
    error = refusal(**args)
    assert next(iter(args)) in error.problem
    assert remedy in error.remedy
    assert "hf_secret" not in str(error)


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        ({"max_length": "64"}, "whole number"),
        ({"max_length": True}, "whole number"),
        ({"add_bos_token": 1}, "true or false"),
        ({"chat_template_args": [1]}, "mapping"),
        ({"system_instruction": 3}, "text"),
    ],
)
def test_values_have_the_types_of_the_signature(args: dict[str, Any], kind: str) -> None:
    assert kind in refusal(**args).remedy


def test_a_fault_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "name: g\nmodels:\n  - name: m\n    layers: [1]\n    model_args:\n      max_lenght: 8\n"
        "methods: [none]\ntasks: [truthful_mini_mc]\n"
    )
    with pytest.raises(GridError, match="line 6"):
        load_grid(path)


def test_every_option_of_hf_has_an_answer() -> None:
    """Each that lm-eval adds is either taken or refused with a reason, and none is unknown."""
    unknown = [
        name
        for name in hf_options() | LOADER_OPTIONS
        if "does not take" in _problem({name: None} if name != "dtype" else {"dtype": "auto"})
    ]
    assert unknown == []


def _problem(args: dict[str, Any]) -> str:
    try:
        grid({"name": "m", "model_args": args})
    except GridError as error:
        return error.problem
    return ""


def test_keys_of_the_model_may_stand_there_too() -> None:
    """The same model has the same cells, whichever way it is written."""
    args = {"dtype": "bfloat16", "revision": "v1", "peft": "adapter"}
    lifted, direct = (grid({"name": "m", **each}) for each in ({"model_args": args}, args))
    assert lifted == direct
    with pytest.raises(GridError, match="dtype"):
        grid({"name": "m", "dtype": "float32", "model_args": {"dtype": "float32"}})


def test_options_are_part_of_the_identity() -> None:
    bare, empty, given = (
        make_plan(grid({"name": "m", **each}))[0]
        for each in ({}, {"model_args": {}}, {"model_args": {"add_bos_token": True}})
    )
    assert bare.id == empty.id != given.id
    assert "model_args" not in bare.identity["model"]
    assert given.identity["model"]["model_args"] == {"add_bos_token": True}
    assert affinity(bare) != affinity(given)
    again = parse_grid(plain(grid({"name": "m", "model_args": {"max_length": 8}})))
    assert again.models[0].model_args == {"max_length": 8}


@pytest.fixture
def other_tokenizer(tiny_folder: str, tmp_path: Path) -> Path:
    """The same vocabulary with another token between texts."""
    folder = tmp_path / "tokenizer"
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.add_special_tokens({"bos_token": "moon"})
    tokenizer.save_pretrained(folder)
    return folder


def test_options_reach_the_model_of_a_worker(tiny_folder: str, other_tokenizer: Path) -> None:
    args = {"tokenizer": str(other_tokenizer), "max_length": 32, "add_bos_token": True,
            "attn_implementation": "eager", "chat_template_args": {"a": 1}}  # fmt: skip
    spec = ModelSpec(tiny_folder, layers=(), model_args=args)
    worker = load_model(spec, WorkerSettings("", None, 2, "cpu"))
    plain_lm = SteeredLM(tiny_folder, method="none", device="cpu", dtype="float32", **args)
    counting = TokenCountingLM(spec, tiny_folder, batch_size=1)
    for lm in (worker, plain_lm, counting):
        assert lm.max_length == 32
        assert lm.add_bos_token is True
        assert lm.tokenizer.bos_token == "moon"
        assert lm.chat_template_args == {"a": 1}
    for lm in (worker, plain_lm):
        assert lm.model.config._attn_implementation == "eager"


def test_a_tokenizer_is_part_of_the_content(tiny_folder: str, other_tokenizer: Path) -> None:
    spec = ModelSpec(tiny_folder, layers=(), model_args={"tokenizer": str(other_tokenizer)})
    first = content_of_model(spec)
    assert "tokenizer: tokenizer.json" in first
    config = other_tokenizer / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"x": 1}))
    assert content_of_model(spec) != first
    shutil.rmtree(other_tokenizer)
    with pytest.raises(ModelError):
        check_model(spec, tiny_folder, [])


def test_a_subfolder_is_part_of_the_content(tiny_folder: str, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "models" / "small")
    shutil.copy(Path(tiny_folder) / "config.json", tmp_path / "models")
    spec = ModelSpec(str(tmp_path / "models"), layers=(), model_args={"subfolder": "small"})
    assert "subfolder: model.safetensors" in content_of_model(spec)
    assert check_model(spec, spec.name, [2]).num_hidden_layers == 3
    lm = load_model(spec, WorkerSettings("", None, 2, "cpu"))
    assert len(lm.model.model.layers) == 3


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_a_model_with_code_of_its_own(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loaded only where the grid says so, in the check before a run and by a worker."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(tiny_folder, tmp_path / "own")
    (folder / "own_code.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnForCausalLM"}
    changes = {"model_type": "own-llama", "architectures": ["OwnForCausalLM"], "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config | changes))
    bare = ModelSpec(str(folder), layers=())
    with pytest.raises(ModelError, match="trust_remote_code"):
        check_model(bare, str(folder), [1])
    trusted = ModelSpec(str(folder), layers=(), model_args={"trust_remote_code": True})
    assert check_model(trusted, str(folder), [1]).model_type == "own-llama"
    lm = load_model(trusted, WorkerSettings("", None, 2, "cpu"))
    assert type(lm.model).__name__ == "OwnForCausalLM"
    assert "own_code.py" in content_of_model(trusted)
    assert TokenCountingLM(trusted, str(folder), batch_size=1).max_length == lm.max_length


@pytest.mark.slow
def test_the_system_instruction_stands_before_prompts(tiny_folder: str, tmp_path: Path) -> None:
    model = {"name": tiny_folder, "model_args": {"system_instruction": "Say the truth."}}
    out = RunFolder(tmp_path / "run")
    assert run_grid(grid(model), tmp_path / "run", None, lambda _: None).failed == ()
    prompts = out.read_responses()["prompt"].to_pylist()
    assert prompts
    assert all(prompt.startswith("Say the truth.") for prompt in prompts)


def test_quantised_weights_need_their_package(tiny_folder: str) -> None:
    spec = ModelSpec(tiny_folder, layers=(), model_args={"load_in_4bit": True})
    with pytest.raises(ModelError, match="bitsandbytes"):
        check_model(spec, tiny_folder, [])


@pytest.mark.parametrize(
    "options",
    [
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True,
                                 "bnb_4bit_quant_type": "nf4"}},
    ],
)  # fmt: skip
def test_quantisation_reaches_transformers(
    options: dict[str, Any], tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the form that its version 5 takes; lm-eval's own model is given the rest."""
    given: list[dict[str, Any]] = []
    create = HFLM._create_model

    def noting(lm: HFLM, *args: Any, quantization_config: Any, **rest: Any) -> None:
        given.append({"quantization_config": quantization_config, **rest})
        create(lm, *args, quantization_config=None, **rest)

    monkeypatch.setattr(loaded_lm.HFLM, "_create_model", noting)
    SteeredLM(tiny_folder, method="none", device="cpu", dtype="float32", **options)
    (made,) = given
    assert made["quantization_config"].load_in_4bit is True
    assert made["quantization_config"].bnb_4bit_quant_type == "nf4"
    assert not {name for name in made if name.startswith(("load_in", "bnb"))}
