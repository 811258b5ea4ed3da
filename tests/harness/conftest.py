"""A model of random weights, a steered model on it, the bundled model, and a small disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_tokenizer import small_tokenizer

from steereval.harness.assets import fetch
from steereval.harness.engine.steered_lm import SteeredLM


@pytest.fixture(scope="session")
def smollm2_folder() -> str:
    return str(fetch("smollm2-135m", print))


@pytest.fixture(scope="session")
def lm(tiny_folder: str) -> SteeredLM:
    model = SteeredLM(
        tiny_folder,
        method="odesteer",
        contrast="truthful-mini",
        answers="best",
        fraction=0.3,
        layer=1,
        strength=20,
        device="cpu",
        dtype="float32",
        batch_size=4,
    )
    model.quiet = True
    return model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder with random weights (3 blocks, width 32) and a small vocabulary."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = small_tokenizer()
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
