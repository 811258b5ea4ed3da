"""Tiny random-weight language models of many architectures, and the bundled real one.

Torch is imported inside the fixtures alone, so that rooms without it are tested without it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

VOCABULARY = 211
WIDTH = 32
BLOCKS = 3
HEADS = 4
CONTEXT = 256

pytest_plugins = ("peak_memory",)

REAL_MODEL = frozenset({"smollm2", "smollm2_folder"})
"""Fixtures that download the bundled model."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reads the bundled model, so that `make test-fast` downloads nothing."""
    for item in items:
        if REAL_MODEL & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)


def pytest_collection_finish() -> None:
    """Spare the collector of garbage the libraries and the list of tests.

    They live as long as the process, and to walk through them takes about a second each time, in
    every test that releases memory.
    """
    gc.collect()
    gc.freeze()


if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of several workers on the same cores wait for one another far longer than they work.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "fixed", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fast",
    deadline=None,
    derandomize=True,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    **_SPECIAL,
}
_LLAMA = {**_BASE, "intermediate_size": 48, "num_key_value_heads": 2}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": WIDTH,
    "n_layer": BLOCKS,
    "n_head": HEADS,
    "n_positions": CONTEXT,
    **_SPECIAL,
}
_GEMMA = {**_LLAMA, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64}
_LOCAL = {"num_layers": BLOCKS, "attention_types": [[["global", "local", "global"], 1]]}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _LLAMA),
    "mistral": ("mistral", {**_LLAMA, "sliding_window": None, "head_dim": 12}),
    "mistral-window": ("mistral", {**_LLAMA, "sliding_window": 8}),
    "qwen2": ("qwen2", _LLAMA),
    "qwen3": ("qwen3", {**_LLAMA, "head_dim": 12}),
    "gemma2": ("gemma2", _GEMMA),
    "gemma3": ("gemma3_text", _GEMMA),
    "falcon": ("falcon", {**_BASE, "alibi": False}),
    "falcon-alibi": ("falcon", {**_BASE, "alibi": True}),
    "gpt-neox": ("gpt_neox", {**_BASE, "intermediate_size": 48}),
    "gpt2": ("gpt2", _GPT2),
    "gptj": ("gptj", {**_GPT2, "rotary_dim": 4}),
    "gpt-neo": ("gpt_neo", {**_BASE, **_LOCAL, "num_heads": HEADS, "window_size": 64}),
    "opt": ("opt", {**_BASE, "ffn_dim": 48, "word_embed_proj_dim": WIDTH}),
    "phi": ("phi", {**_BASE, "intermediate_size": 48}),
    "bloom": (
        "bloom",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "n_layer": BLOCKS,
            "n_head": HEADS,
            **_SPECIAL,
        },
    ),
    "mixtral": ("mixtral", {**_LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2-moe": (
        "qwen2_moe",
        {**_LLAMA, **_EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 24},
    ),
    "mamba": (
        "mamba",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "state_size": 4,
            "num_hidden_layers": BLOCKS,
            **_SPECIAL,
        },
    ),
    "lfm2": ("lfm2", {**_LLAMA, "layer_types": ["conv", "full_attention", "conv"]}),
}


@cache
def _tiny(architecture: str, **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, values = ARCHITECTURES[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **(values | changes))
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for parameter in model.parameters():
            # Weights as they come are so small that attention would hardly matter.
            if parameter.ndim >= 2:
                parameter.data.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Any]:
    """The model (float32, width 32, 3 blocks, 4 heads) of an architecture, made once; further
    arguments change its configuration."""
    return _tiny


COMMON = frozenset({"llama", "gemma3", "gpt2", "mixtral", "mamba"})
"""Architectures that `make test-fast` tests too: of each kind one."""


def every(names: Iterable[str]) -> list[Any]:
    """Architectures as parameters of tests, of which `make test-fast` takes the common ones."""
    return [
        pytest.param(name, marks=() if name in COMMON else pytest.mark.slow, id=name)
        for name in sorted(names)
    ]


@pytest.fixture(params=every(ARCHITECTURES), scope="session")
def architecture(request: pytest.FixtureRequest) -> str:
    """Every architecture in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def any_model(architecture: str) -> Any:
    """A tiny model of every architecture in turn."""
    return _tiny(architecture)


@pytest.fixture(scope="session")
def smollm2() -> tuple[Any, Any]:
    """Model (float32) and tokenizer of the bundled SmolLM2-135M-Instruct."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from steereval.harness.assets import fetch

    folder = fetch("smollm2-135m", lambda _: None)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model.requires_grad_(False), AutoTokenizer.from_pretrained(folder)
