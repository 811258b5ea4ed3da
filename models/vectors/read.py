"""Directions by site from a file of any of the formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from steereval.common.errors import InputError, UnknownNameError
from steereval.models.steering.hook_points import Site
from steereval.models.vectors.direction import Direction
from steereval.models.vectors.gguf_control_vector import read_gguf
from steereval.models.vectors.lm_eval_steered import is_steered, read_steered
from steereval.models.vectors.plain_tensors import read_plain
from steereval.models.vectors.sae_decoder import has_decoder, read_feature

Format = Literal["auto", "plain", "gguf", "steered", "sae"]
_READERS = {"gguf": read_gguf, "steered": read_steered}
_BY_SUFFIX = {
    ".safetensors": "plain", ".npz": "plain", ".npy": "plain", ".gguf": "gguf",
    ".pt": "steered", ".pth": "steered",
}  # fmt: skip


def read_vectors(
    path: str | Path,
    format: str = "auto",
    feature: int | None = None,
    sites: Sequence[Site] = (),
    key: str = "",
) -> dict[Site, Direction]:
    """Directions of the file at `path` for each block.

    Args:
        path: The file.
        format: Its format; `auto` goes by its name and content.
        feature: Row of a sparse autoencoder, which is used at all `sites`.
        sites: Where a vector that names no layer is used.
        key: Names of plain tensors, with `{layer}` in place of the block's number.

    Raises:
        ArtefactError: The file is missing, damaged or of another format.
        InputError: An option does not fit it.
    """
    path = Path(path)
    file_format = format_of(path, format)
    if file_format == "sae":
        if not sites:
            raise InputError(
                f"{path} is a sparse autoencoder, which does not say where it belongs",
                "Name the layer whose output it was trained on.",
            )
        return dict.fromkeys(sites, read_feature(path, feature))
    if feature is not None:
        raise InputError(
            f"feature {feature} was given, but {path} is not a sparse autoencoder",
            "Leave the option feature out.",
        )
    if file_format == "plain":
        return read_plain(path, key, sites)
    if key:
        raise InputError(
            f"key {key!r} was given, but {path} is of format {file_format}, which names its layers",
            "Leave the option key out.",
        )
    return _READERS[file_format](path)


def format_by_suffix(path: Path) -> str:
    """The format that the end of `path` stands for. Raises InputError if it stands for none."""
    if path.suffix.lower() not in _BY_SUFFIX:
        raise InputError(
            f"the name of {path} does not say which format it has",
            f"Name the format, or end it in {', '.join(_BY_SUFFIX)}.",
        )
    return _BY_SUFFIX[path.suffix.lower()]


def format_of(path: Path, format: str = "auto") -> str:
    """The name of the format that the file at `path` is read as, `auto` resolved.

    Raises UnknownNameError, InputError or ArtefactError.
    """
    formats = ("auto", "plain", "sae", *_READERS)
    if format not in formats:
        raise UnknownNameError.of("vector format", format, formats)
    if format != "auto":
        return format
    file_format = format_by_suffix(path)
    if file_format == "plain" and path.suffix.lower() == ".safetensors" and has_decoder(path):
        return "sae"
    if file_format == "steered" and not is_steered(path):
        return "plain"
    return file_format
