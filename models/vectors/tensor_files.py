"""Tensors by name from safetensors, PyTorch and NumPy files; nothing is unpickled.

A file of one tensor without a name gives it the name "". Sizes are checked before memory is taken:
a tensor may not claim more elements than its file can hold.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steereval.common.errors import ArtefactError
from steereval.common.text import first_line
from steereval.models.vectors.direction import unusable
from steereval.models.vectors.files import check_present, opened_safetensors

LARGEST_RATIO = 100
"""Expanded size of a file over its size on disk, at most."""
SMALL = 1 << 20
"""Bytes that any file may expand to."""
_SHOWN = 6


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Args:
        path: A .safetensors, .pt, .pth, .npz or .npy file.

    Raises:
        ArtefactError: The file is missing, damaged, too large once expanded, or holds anything but
            tensors under texts or whole numbers.
    """
    check_present(path)
    tensors = _READERS.get(path.suffix.lower(), _of_safetensors)(path)
    size = path.stat().st_size
    for name, tensor in tensors.items():
        claimed, most = tensor.numel() * tensor.element_size(), _most_bytes(path)
        if claimed > most:
            raise unusable(
                path,
                f"tensor {name!r} claims {claimed} bytes; a file of {size} bytes may hold {most}",
            )
    return tensors


def load_plain_pickle(path: Path) -> Any:
    """Content by `torch.load` with `weights_only`: tensors, numbers, texts, lists, dicts.

    Raises:
        ArtefactError: The file is damaged, holds other objects, or expands too far.
    """
    check_present(path)
    check_expanded_size(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise almost anything
        raise unusable(
            path,
            f"it is damaged, or holds more than tensors and plain values ({type(error).__name__})",
            "Other objects are not opened, since they can run code: save a dict of tensors, "
            "numbers and text with torch.save.",
        ) from error


def check_expanded_size(path: Path) -> None:
    """Refuse a zip file that expands too far.

    Raises:
        ArtefactError: Its parts together are larger than the file allows.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            expanded = sum(part.file_size for part in parts)
            names = {part.filename for part in parts}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise unusable(path, f"its zip directory is damaged ({error})") from error
    if len(names) < len(parts):
        raise unusable(path, "two of its parts have the same name")
    if expanded > _most_bytes(path):
        raise unusable(
            path, f"it expands to {expanded} bytes, more than {LARGEST_RATIO} times its size"
        )


def contents(tensors: Mapping[str, Tensor]) -> str:
    """Names, shapes and types of tensors, in words."""
    parts = [
        f"{name or 'one tensor'} {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in list(tensors.items())[:_SHOWN]
    ]
    more = len(tensors) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _most_bytes(path: Path) -> int:
    return SMALL + LARGEST_RATIO * path.stat().st_size


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    with opened_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _of_pytorch(path: Path) -> dict[str, Tensor]:
    content = load_plain_pickle(path)
    if isinstance(content, Tensor):
        return {"": content}
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or not content:
        raise unusable(path, f"it holds {_kind(content)}, not tensors by layer", _CONVERSION)
    for name, value in content.items():
        if not isinstance(name, str | int):
            raise unusable(path, f"the key {name!r} is not a layer", _CONVERSION)
        if not isinstance(value, Tensor):
            raise unusable(path, f"{name!r} is {_kind(value)}, not a tensor", _CONVERSION)
    tensors = {str(name): value for name, value in content.items()}
    if len(tensors) < len(content):
        raise unusable(path, "a layer has two keys, a number and a text", _CONVERSION)
    return tensors


def _of_numpy(path: Path) -> dict[str, Tensor]:
    check_expanded_size(path)
    try:
        # Mapped: a header that claims more than the file holds fails at once.
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": _as_tensor(content, path, "the array")}
        with content as archive:
            return {name: _as_tensor(archive[name], path, name) for name in archive.files}
    except ArtefactError:
        raise
    except Exception as error:  # damaged headers raise almost anything
        why = f"it is not a NumPy file of numbers ({first_line(error)})"
        raise unusable(path, why) from error


def _as_tensor(array: Any, path: Path, name: str) -> Tensor:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        kind = getattr(array, "dtype", type(array).__name__)
        raise unusable(path, f"{name} is {kind}, not an array of floats")
    # A copy: memory of the machine's byte order that may be written to.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


_CONVERSION = 'Convert it: `torch.save({14: vector}, "vectors.pt")`, a vector [d] for each block.'


_READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ".safetensors": _of_safetensors,
    ".pt": _of_pytorch,
    ".pth": _of_pytorch,
    ".npz": _of_numpy,
    ".npy": _of_numpy,
}
