"""De-quantising GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from steereval.common.errors import ModelError
from steereval.models.checkpoints.gguf_conversion import convert_gguf, read_once


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no such thing" * 100])
def test_a_file_that_is_not_a_gguf(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.gguf cannot be de-quantised: .*Fetch it again"):
        convert_gguf(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_is_read_once_in_there_alone(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with read_once():
        first = gguf.GGUFReader(file)
        assert gguf.GGUFReader(file) is first
    assert gguf.GGUFReader(file) is not first


@pytest.mark.real
def test_the_embedded_model_generates(smollm2: Any) -> None:
    """De-quantised weights and tokenizer belong together: the answer is the expected one."""
    model, tokenizer = smollm2
    text = "The capital of France is"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert tokenizer.decode(model(input_ids=ids).logits[0, -1].argmax()).strip() == "Paris"
