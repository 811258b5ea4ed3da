"""Vector files on disk: opened with errors that name them, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError, safe_open

from steereval.common.errors import ArtefactError, StoreError
from steereval.models.vectors.direction import unusable


def check_present(path: Path) -> None:
    """Raise ArtefactError unless `path` is a file that is not empty."""
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not there"
        raise ArtefactError(
            f"the vector file {path} is {kind}",
            "Name a .safetensors, .gguf, .pt or .pth file.",
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
    """A temporary sibling of `path`, which replaces it once the block has succeeded.

    Raises StoreError if it cannot be written.
    """
    staging = path.parent / f".tmp-{uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield staging
        with staging.open("rb") as file:
            os.fsync(file.fileno())
        staging.replace(path)
    except OSError as error:
        raise StoreError(
            f"the vectors cannot be written to {path}: {error.strerror or error}",
            "Choose a file in a folder that can be written and has room.",
        ) from error
    finally:
        with suppress(OSError):
            staging.unlink()
