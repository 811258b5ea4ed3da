"""Control vectors in GGUF, as repeng and llama.cpp exchange them.

`general.architecture` is `controlvector`; tensor `direction.N` [d] is added to the output of the
0-based block N, so `direction.N` is Site(N). Sources:
repeng (github.com/vgel/repeng, control.py and extract.py) keys directions by the index into the
model's list of blocks, measures them at `hidden_states[N + 1]` and adds them to what block N
returns; llama.cpp (common.cpp, llama-adapter.cpp) stores `direction.N` at offset N - 1, reads it
back for graph layer il from offset il - 1 and adds it to that layer's output `l_out`. The two
shifts cancel. llama.cpp has no room for block 0 and refuses a file with `direction.0`, so none is
written; repeng can make such a file, so it is read.

llama.cpp's own cvector-generator measures at the output of block N - 1 what it calls
`direction.N`, yet llama.cpp applies it after block N; here it is applied where llama.cpp does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize
from torch import Tensor

from steereval.common.errors import InputError
from steereval.models.steering.hook_points import Site
from steereval.models.vectors.direction import Direction, as_vector, unusable
from steereval.models.vectors.files import check_present, written_whole

ARCHITECTURE = "controlvector"
_NAME = re.compile(r"direction\.(\d{1,6})", re.ASCII)
_FLOATS = (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.F64)
_QUANTISED = (GGMLQuantizationType.BF16, GGMLQuantizationType.Q8_0)
_KNOWN = ("model_hint", "layer_count")
"""Metadata of control vectors, after `controlvector.`."""


class _CheckedReader(GGUFReader):  # type: ignore[misc]
    """Stops at the end of the file, where the package's reader would go on over nothing.

    A damaged length could otherwise keep it busy until the memory is full.
    """

    def _get(self, offset: int, dtype: Any, count: int = 1, *rest: Any, **named: Any) -> Any:
        values = super()._get(offset, dtype, count, *rest, **named)
        if len(values) != int(count):
            raise ValueError("it ends too early")
        return values


def read_gguf(path: Path) -> dict[Site, Direction]:
    """The control vectors, lowest layer first. Raises ArtefactError for any other content."""
    check_present(path)
    try:
        reader = _CheckedReader(path)
    except Exception as error:  # the package does not say what it raises for damaged files
        raise unusable(path, f"it is not a GGUF file ({error})") from error
    _check_architecture(reader, path)
    directions: dict[Site, Direction] = {}
    for tensor in reader.tensors:
        match = _NAME.fullmatch(tensor.name)
        if match is None or Site(int(match[1])) in directions:
            raise unusable(path, f"tensor {tensor.name!r} is not named like direction.14, once")
        directions[Site(int(match[1]))] = Direction(_vector(tensor, path))
    if not directions:
        raise unusable(path, "it holds no directions")
    return dict(sorted(directions.items()))


def write_gguf(vectors: Mapping[Site, Tensor], path: Path, model_hint: str = "") -> None:
    """Write vectors [d] by site in float32; `model_hint` names the kind of model ("llama").

    Raises InputError for block 0, which the format lacks, and StoreError.
    """
    if Site(0) in vectors:
        raise InputError(
            f"a control vector for layer 0 cannot be written to {path}",
            "llama.cpp refuses files with direction.0: export to .safetensors or .pt, or fit "
            "another layer.",
        )
    with written_whole(path) as staging:
        writer = GGUFWriter(staging, ARCHITECTURE)
        # An empty text would be left out, and repeng reads no file without it.
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_hint or "unknown")
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vectors))
        for site, vector in vectors.items():
            writer.add_tensor(f"direction.{site.layer}", vector.detach().cpu().float().numpy())
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _check_architecture(reader: Any, path: Path) -> None:
    field = reader.get_field("general.architecture")
    name = bytes(field.parts[-1]).decode(errors="replace") if field is not None else "unknown"
    if name != ARCHITECTURE:
        raise unusable(
            path,
            f"it is a GGUF file of architecture {name!r}, not {ARCHITECTURE!r}",
            "Name a file of control vectors, such as repeng's export_gguf writes.",
        )
    unknown = [
        name for name in reader.fields
        if name.startswith(f"{ARCHITECTURE}.") and name.partition(".")[2] not in _KNOWN
    ]  # fmt: skip
    if unknown:
        raise unusable(
            path,
            f"its metadata {', '.join(unknown)} is unknown here and may change what it does",
            f"Write the file with {' and '.join(_KNOWN)} alone if its directions are complete so.",
        )


def _vector(tensor: Any, path: Path) -> Tensor:
    """The direction in float32 [d], copied out of the file."""
    if tensor.tensor_type in _QUANTISED:
        values = dequantize(tensor.data, tensor.tensor_type)
    elif tensor.tensor_type in _FLOATS:
        values = np.array(tensor.data, dtype=np.float32)
    else:
        types = ", ".join(each.name for each in (*_FLOATS, *_QUANTISED))
        raise unusable(
            path,
            f"{tensor.name} is {tensor.tensor_type.name}, not one of {types}",
            "Export it again in one of these types.",
        )
    return as_vector(torch.from_numpy(np.array(values, dtype=np.float32)), tensor.name, path)
