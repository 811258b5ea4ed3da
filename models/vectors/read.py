"""Directions by site from a file of any of the formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from steereval.common.errors import InputError, UnknownNameError
from steereval.models.steering.hook_points import Site
from steereval.models.vectors.direction import Direction
from steereval.models.vectors.gguf_control_vector import read_gguf
from steereval.models.vectors.lm_eval_steered import read_steered
from steereval.models.vectors.plain_safetensors import read_plain
from steereval.models.vectors.sae_decoder import has_decoder, read_feature

Format = Literal["auto", "plain", "gguf", "steered", "sae"]
_READERS = {"plain": read_plain, "gguf": read_gguf, "steered": read_steered}
_BY_SUFFIX = {".safetensors": "plain", ".gguf": "gguf", ".pt": "steered", ".pth": "steered"}


def read_vectors(
    path: str | Path, format: str = "auto", feature: int | None = None, sites: Sequence[Site] = ()
) -> dict[Site, Direction]:
    """What the file at `path` says about each block.

    `feature` is the row of a sparse autoencoder, which is used at all `sites`; the other formats
    name their layers and take neither. Raises ArtefactError for a file that is missing, damaged
    or of another format, InputError for options that do not fit it.
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
            f"feature {feature} was asked for, but {path} is no sparse autoencoder",
            "Leave the option feature out.",
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
    if format not in ("auto", "sae", *_READERS):
        raise UnknownNameError.of("vector format", format, ("auto", "sae", *_READERS))
    if format != "auto":
        return format
    file_format = format_by_suffix(path)
    return "sae" if file_format == "plain" and has_decoder(path) else file_format
