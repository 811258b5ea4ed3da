"""Vector files on disk: opened with errors that name them, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from steereval.common.errors import ArtefactError, StoreError
from steereval.common.files import replacing
from steereval.models.vectors.direction import unusable


def check_present(path: Path) -> None:
    """Raise ArtefactError unless `path` is a file that is not empty."""
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not there"
        raise ArtefactError(
            f"the vector file {path} is {kind}",
            "Name a .safetensors, .gguf, .npz, .npy, .pt or .pth file.",
        )
    if path.stat().st_size == 0:
        raise unusable(path, "it is empty")


@contextmanager
def opened_safetensors(path: Path) -> Iterator[Any]:
    """The open file, from which tensors are read by name. Raises ArtefactError if it is none."""
    check_present(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise unusable(path, f"it is not a safetensors file ({error})") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path next to `path`, which takes its place once the block has ended well.

    Raises StoreError if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as staging:
            yield staging
    except OSError as error:
        raise StoreError(
            f"the vectors cannot be written to {path}: {error.strerror or error}",
            "Choose a file in a folder that can be written and has room.",
        ) from error
