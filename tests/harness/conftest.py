"""The embedded model, loaded once."""

from __future__ import annotations

import pytest

from steereval.harness.assets import fetch
from steereval.harness.engine.steered_lm import SteeredLM


@pytest.fixture(scope="session")
def smollm2_folder() -> str:
    return str(fetch("smollm2-135m", print))


@pytest.fixture(scope="session")
def lm(smollm2_folder: str) -> SteeredLM:
    model = SteeredLM(
        smollm2_folder,
        method="odesteer",
        contrast="truthful-mini",
        answers="best",
        fraction=0.3,
        layer=14,
        strength=20,
        device="cpu",
        dtype="float32",
        batch_size=4,
    )
    model.quiet = True
    return model


@pytest.fixture(scope="session")
def tiny_folder(smollm2_folder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder with random weights (3 blocks, width 32) and SmolLM2's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
