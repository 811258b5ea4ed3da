"""`model_args:` of a grid's model: options of lm-eval's `hf`, checked before anything is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from lm_eval.models.huggingface import HFLM

from steereval.common.errors import nearest_remedy
from steereval.common.validation import Fault, Place, shown
from steereval.harness.config.model_args import LOADER_OPTIONS, Steering, hf_options
from steereval.harness.config.specs import ModelSpec

SYSTEM_INSTRUCTION: Final = "system_instruction"
"""An option of lm-eval's evaluation rather than of its model: a text in front of every prompt."""

_ELSEWHERE: Final = {
    "pretrained": "Give it as the model's `name`.",
    "device": "Give it under `run`, or with --device.",
    "batch_size": "Give it under `run`, or with --batch-size.",
    "max_batch_size": "Give `batch_size` under `run`: batches that do not fit are made smaller.",
    "parallelize": "Give the model `gpus: 2` or more, which spreads it.",
    "token": "Set HF_TOKEN where the model is loaded (`steereval submit --env HF_TOKEN`): a secret "
    "in a grid would be written into the run.",
    "cache_dir": "Set HF_HOME.",
    "local_files_only": "Set HF_HUB_OFFLINE=1.",
    "force_download": "Remove it: a run records the commit that it loads.",
    "config": "Put the configuration into the model's folder, whose content is part of the run.",
}
"""Options that a grid gives in another place, with that place."""

_NOT_HONOURED: Final = {
    "tp_plan": "it needs one process for each GPU, and a replica is one process",
    "logits_cache": "requests share their prefixes without it",
    "autogptq": "its model has no blocks of Transformers to steer",
    "gptqmodel": "its model has no blocks of Transformers to steer",
}
"""Options that the engine cannot honour, with the reason."""

_INSTEAD: Final = {
    "tp_plan": "Give the model `gpus: 2` or more.",
    "autogptq": "Remove it: Transformers reads GPTQ checkpoints itself.",
    "gptqmodel": "Remove it: Transformers reads GPTQ checkpoints itself.",
}

_SPREAD: Final = ("max_memory_per_gpu", "max_cpu_memory")
"""Options of a model that is spread over several GPUs."""

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "None": (type(None),),
    "dict": (dict,),
    "dict[str, Any]": (dict,),
}
"""Types that a grid file can hold, by their annotation in lm-eval."""


def check_model_args(model: ModelSpec, place: Place) -> Iterator[Fault]:
    """Find what is wrong with the `model_args` of a model.

    Args:
        model: The model.
        place: Where it stands in the grid.

    Yields:
        Faults, with their place in the grid.
    """
    known = {SYSTEM_INSTRUCTION, *hf_options(), *LOADER_OPTIONS}
    allowed = known - _ELSEWHERE.keys() - _NOT_HONOURED.keys()
    for name, value in model.model_args.items():
        at = (*place, "model_args", name)
        if name in _ELSEWHERE:
            yield Fault(at, f"model_args has {name}, which stands elsewhere", _ELSEWHERE[name])
        elif name in _NOT_HONOURED:
            problem = f"model_args has {name}, which cannot be honoured: {_NOT_HONOURED[name]}"
            yield Fault(at, problem, _INSTEAD.get(name, "Remove it."))
        elif name in {field.name for field in fields(Steering)}:
            problem = f"model_args has {name}, which is an option of steering"
            yield Fault(at, problem, "Give it to the grid's methods or contrast.")
        elif name not in known:
            problem = f"model_args has {name}, which lm-eval's hf does not take"
            yield Fault(at, problem, nearest_remedy(name, allowed))
        elif not _fits(name, value):
            yield Fault(at, f"model_args.{name} is {shown(value)}", f"It must be {_words(name)}.")
    yield from _check_together(model, place)


def _check_together(model: ModelSpec, place: Place) -> Iterator[Fault]:
    """Options whose values do not fit the engine, or each other."""
    args = model.model_args
    if args.get("backend", "default") not in ("default", "causal"):
        problem = f"model_args.backend is {shown(args['backend'])}"
        remedy = "Steering needs a decoder-only model: remove it."
        yield Fault((*place, "model_args", "backend"), problem, remedy)
    if args.get("enable_thinking") and args.get("think_end_token") is None:
        problem = "model_args has enable_thinking and no think_end_token"
        remedy = "Add the text that ends the thoughts, such as `think_end_token: </think>`."
        yield Fault((*place, "model_args", "enable_thinking"), problem, remedy)
    if model.peft and args.get("delta"):
        problem = "the model has peft and model_args.delta"
        yield Fault((*place, "model_args", "delta"), problem, "Remove one of them.")
    for name in _SPREAD:
        if name in args and model.gpus <= 1:
            problem = f"model_args has {name}, and the model is on one device"
            yield Fault((*place, "model_args", name), problem, "Add `gpus: 2`, or remove it.")


def _annotation(name: str) -> list[str]:
    """The types that lm-eval's signature gives an option; empty if it names none."""
    if name == SYSTEM_INSTRUCTION:
        return ["str"]
    parameter = inspect.signature(HFLM.__init__).parameters.get(name)
    stated = "" if parameter is None else str(parameter.annotation)
    return [part.strip() for part in stated.split("|") if part.strip() in _TYPES]


def _fits(name: str, value: Any) -> bool:
    kinds = _annotation(name)
    if not kinds:
        return True
    if isinstance(value, bool):
        return "bool" in kinds
    return isinstance(value, tuple(kind for each in kinds for kind in _TYPES[each]))


def _words(name: str) -> str:
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text",
             "None": "null", "dict": "a mapping", "dict[str, Any]": "a mapping"}  # fmt: skip
    return " or ".join(dict.fromkeys(words[kind] for kind in _annotation(name)))


def loader_options(model: ModelSpec) -> Mapping[str, Any]:
    """The options of `model_args` with which the model is loaded."""
    return {name: v for name, v in model.model_args.items() if name != SYSTEM_INSTRUCTION}


def system_instruction(model: ModelSpec) -> str | None:
    """The text in front of every prompt; None without one."""
    value = model.model_args.get(SYSTEM_INSTRUCTION)
    return None if value is None else str(value)


TOKENISATION: Final = (
    *("max_length", "truncation", "add_bos_token", "prefix_token_id"),
    *("chat_template_args", "enable_thinking", "think_end_token"),
)
"""Options that change which tokens a model is fed."""
_READING: Final = ("trust_remote_code", "subfolder", "gguf_file")


def reading_options(model: ModelSpec) -> dict[str, Any]:
    """The options of `model_args` that Transformers needs to read a configuration or tokenizer.

    Without a word on `trust_remote_code` it would ask at the terminal.
    """
    given = {name: value for name, value in model.model_args.items() if name in _READING}
    return {"trust_remote_code": False, **given}


def needs_bitsandbytes(model: ModelSpec) -> bool:
    """Whether `model_args` ask for weights that bitsandbytes quantises."""
    return any(model.model_args.get(name) for name in ("load_in_8bit", "load_in_4bit"))


def tokenizer_of(model: ModelSpec, location: str) -> tuple[str, dict[str, Any]]:
    """Where the tokenizer of a model is, and the options with which lm-eval reads it.

    Args:
        model: The model.
        location: Where the model is.
    """
    args = model.model_args
    options = {**reading_options(model), "revision": model.revision}
    tokenizer = args.get("tokenizer")
    if tokenizer:
        options.pop("gguf_file", None)
    if "gguf_file" not in options:
        options["use_fast"] = args.get("use_fast_tokenizer", True)
    if args.get("add_bos_token") is not None:
        options["add_bos_token"] = args["add_bos_token"]
    return str(tokenizer or location), options
