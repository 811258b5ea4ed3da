"""Options in `--model_args`: of steering, of the method and of the loader."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Any

from lm_eval.models.huggingface import HFLM

from steereval.common.errors import InputError, nearest_remedy
from steereval.common.paths import expanded
from steereval.models.methods.registry import get_method

_OPTION = "option."
_PATHS = frozenset(
    {"contrast", "steerer", "data_dir", "tokenizer", "peft", "delta", "cache_dir", "offload_folder"}
)
"""Arguments whose text may be a path: `~` in it is the home folder."""
LOADER_OPTIONS = frozenset(
    {"attn_implementation", "cache_dir", "config", "device_map", "force_download"}
    | {"load_in_4bit", "load_in_8bit", "local_files_only", "low_cpu_mem_usage", "max_memory"}
    | {"bnb_4bit_compute_dtype", "bnb_4bit_quant_storage", "bnb_4bit_quant_type"}
    | {"bnb_4bit_use_double_quant", "experts_implementation", "use_kernels"}
    | {"offload_state_dict", "quantization_config", "token", "use_safetensors", "variant"}
)
"""Options of Transformers' `from_pretrained` beyond those that lm-eval names."""


@dataclass(frozen=True)
class Steering:
    """The steering part of `--model_args`."""

    method: str = "odesteer"
    """A steering method (`steereval methods`)."""
    contrast: str | None = None
    """Contrast set to fit to: a name (`steereval tasks`) or a .jsonl file."""
    steerer: str | None = None
    """Folder of a fitted steerer, instead of a method and a contrast."""
    layer: int | str | None = None
    """0-based block, several joined by +, or all."""
    incremental: bool = False
    """Fit layer by layer on activations that the layers below have already steered."""
    strength: float | None = None
    """How strongly to steer; 0 is the unsteered model."""
    unit: str = "absolute"
    """`absolute`, `relative`, or `displacement`."""
    positions: str = "generated"
    """Which tokens are steered."""
    seed: int = 0
    """Fit seed."""
    fraction: float = 1.0
    """Share of the contrast's questions that the seed draws."""
    answers: str = "all"
    """`all` answers of a question or the `best` of each class."""
    template: str = "qa"
    """Text around question and answer: `qa` or `chat`."""
    token: str = "last"
    """Where activations are taken: at the `last` token, or the `mean` over the answer's."""
    data_dir: str | None = None
    """Folder with benchmark data, where no hub is in reach."""
    path: str = "auto"
    """How log-likelihoods are computed: `shared`, `plain`, or whichever the model allows."""
    steer_fewshot: bool = False
    """Whether positions that reach into the prompt may reach into few-shot text too."""


PATHS = ("auto", "shared", "plain")
"""How log-likelihoods are computed."""


def hf_options() -> frozenset[str]:
    """The options that lm-eval's `hf` names, without the model itself."""
    parameters = inspect.signature(HFLM.__init__).parameters
    return frozenset(parameters) - {"self", "pretrained", "kwargs"}


def split_options(options: dict[str, Any]) -> tuple[Steering, dict[str, Any], dict[str, Any]]:
    """Tell steering, the method's own options and the loader's options apart.

    A name that steering or the loader has too is theirs; `option.NAME` is always the method's.
    Raises InputError for a name that is none of them.
    """
    options = {name: _as_path(name, value) for name, value in options.items()}
    known = {spec.name for spec in fields(Steering)}
    steering = Steering(**{name: value for name, value in options.items() if name in known})
    method = get_method(steering.method)
    of_method = {spec.name for spec in fields(method.Options)}
    loader = hf_options() | LOADER_OPTIONS
    method_options: dict[str, Any] = {}
    loader_options: dict[str, Any] = {}
    for name, value in options.items():
        if name in known:
            continue
        if name.startswith(_OPTION) or (name in of_method and name not in loader):
            method_options[name.removeprefix(_OPTION)] = value
        elif name in loader:
            loader_options[name] = value
        else:
            everything = {*known, *of_method, *loader}
            raise InputError(f"unknown model argument {name!r}", nearest_remedy(name, everything))
    if "path" in of_method and steering.path not in PATHS:
        raise InputError(
            f"path={steering.path} says how log-likelihoods are computed: {', '.join(PATHS)}",
            f"Write {_OPTION}path={steering.path} for the option of the method {method.name}.",
        )
    method.options(method_options)
    return steering, method_options, loader_options


def _as_path(name: str, value: Any) -> Any:
    return expanded(value) if name in _PATHS and isinstance(value, str) else value
