"""Models that travel as GGUF files: de-quantised once into a folder that loads fast."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from steereval.common.errors import ModelError


class PlainReader(gguf.GGUFReader):  # type: ignore[misc] # gguf is untyped
    """Reads fields as slices of an array: a slice of a memory map costs ten times as much, and a
    vocabulary has hundreds of thousands."""

    def __setattr__(self, name: str, value: object) -> None:
        """Keep a memory map as an array over the same memory."""
        if isinstance(value, np.memmap):
            value = value.view(np.ndarray)
        super().__setattr__(name, value)


@contextmanager
def read_once() -> Iterator[None]:
    """Read a file once in here.

    Transformers reads it for the tokenizer, its configuration and the model, slowly each time, and
    asks for the names of all tensors once for every module.
    """
    reader, names = cache(PlainReader), cache(gguf.get_tensor_name_map)
    with patch.multiple(gguf, GGUFReader=reader, get_tensor_name_map=names):
        yield


def convert_gguf(file: Path, folder: Path) -> None:
    """De-quantise the GGUF `file` to float32 safetensors and a tokenizer in `folder`.

    Raises ModelError if Transformers cannot read the file.
    """
    source, name = str(file.parent), file.name
    try:
        with read_once():
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
            quantised = AutoModelForCausalLM.from_pretrained(
                source, gguf_file=name, dtype=torch.float32
            )
    except (OSError, ValueError, LookupError, RuntimeError, struct.error) as error:
        raise ModelError(f"{file} cannot be de-quantised: {error}", "Fetch it again.") from error
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
