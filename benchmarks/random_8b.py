"""Random weights in the shape of Llama 3.1 8B, in bfloat16: what a GPU is timed with."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

NAME = "random-8b"
SHAPE = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip


def made(device: str) -> PreTrainedModel:
    """The model, its weights drawn on `device` from a fixed seed."""
    config = AutoConfig.for_model("llama", **SHAPE)
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def save(folder: Path, tokenizer: Path, device: str) -> None:
    """Write the model (16 GB) to `folder`, with the tokenizer of the model in `tokenizer`."""
    made(device).save_pretrained(folder)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, folder)
