"""Models that travel as GGUF files: de-quantised once into a folder that loads fast."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from steereval.errors import ModelError


def convert_gguf(gguf: Path, folder: Path) -> None:
    """De-quantise `gguf` to float32 safetensors and a tokenizer in `folder`.

    Raises ModelError if Transformers cannot read the file.
    """
    source, name = str(gguf.parent), gguf.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
        quantised = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, dtype=torch.float32
        )
    except (OSError, ValueError, LookupError, RuntimeError, struct.error) as error:
        raise ModelError(f"{gguf} cannot be de-quantised: {error}", "Fetch it again.") from error
    # A model read from GGUF refuses to be saved, so its weights move into a fresh one.
    config = quantised.config
    config.__dict__.pop("quantization_config", None)
    with torch.device("meta"):
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(quantised.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = quantised.generation_config
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
