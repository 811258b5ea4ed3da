"""Known shapes are those of models that Transformers builds from published configurations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from steereval.models.checkpoints.known_shapes import Shape, known_shape
from steereval.models.steering.hook_points import find_blocks

GROUPED = {"num_attention_heads": 32, "num_key_value_heads": 8}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiiuae/falcon-7b": (
        "falcon",
        {
            "hidden_size": 4544,
            "num_hidden_layers": 32,
            "num_attention_heads": 71,
            "vocab_size": 65024,
            "multi_query": True,
            "parallel_attn": True,
            "bias": False,
            "new_decoder_architecture": False,
        },
    ),
    "mistralai/Mistral-7B-v0.3": (
        "mistral",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "vocab_size": 32768,
            **GROUPED,
        },
    ),
    "meta-llama/Llama-3.1-8B": (
        "llama",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "vocab_size": 128256,
            **GROUPED,
        },
    ),
    "Qwen/Qwen2.5-7B": (
        "qwen2",
        {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "vocab_size": 152064,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
}
JUDGES = {
    "allenai/truthfulqa-truth-judge-llama2-7B": ("llama", {"vocab_size": 32000}),
    "allenai/truthfulqa-info-judge-llama2-7B": ("llama", {"vocab_size": 32000}),
    "Skywork/Skywork-Reward-V2-Llama-3.1-8B": CONFIGURATIONS["meta-llama/Llama-3.1-8B"],
    "unitary/toxic-bert": ("bert", {"num_labels": 6}),
    "openai-community/gpt2-xl": ("gpt2", {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
}
PUBLISHED = {
    # Parameters in all, as the hub shows them.
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_shapes(name: str) -> None:
    kind, values = CONFIGURATIONS[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values))
    blocks = find_blocks(model)
    assert known_shape(name) == Shape(
        len(blocks),
        model.config.hidden_size,
        model.get_output_embeddings().weight.shape[0],
        sum(parameter.numel() for parameter in blocks[0].parameters()),
    )


@pytest.mark.parametrize("name", JUDGES)
def test_shapes_of_judges(name: str) -> None:
    """Blocks as Transformers builds them from its defaults, which are those of these models."""
    kind, values = JUDGES[name]
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(kind, **values))
    layers = model.encoder.layer if kind == "bert" else find_blocks(model)
    shape = known_shape(name)
    assert shape is not None
    assert (shape.blocks, shape.width) == (len(layers), model.config.hidden_size)
    assert shape.block_parameters == sum(p.numel() for p in layers[0].parameters())


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_parameters_in_all(name: str, parameters: int) -> None:
    """Blocks, input and output embeddings that are not tied, and the last norm."""
    shape = known_shape(name)
    assert shape is not None
    embeddings = 2 * shape.vocabulary * shape.width
    assert shape.blocks * shape.block_parameters + embeddings + shape.width == parameters


def test_names() -> None:
    assert known_shape("/models/falcon-7b/") == known_shape("tiiuae/falcon-7b")
    assert known_shape("tiiuae/falcon-7b-instruct") is None
    assert known_shape("smollm2-135m") is None


def test_operations() -> None:
    shape = Shape(blocks=4, width=10, vocabulary=20, block_parameters=100)
    assert (shape.block_flops, shape.output_flops, shape.flops) == (200, 400, 1200)
