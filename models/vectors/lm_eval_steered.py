"""Files of lm-eval's `steered` model (`lm_eval --model steered --model_args steer_path=...`).

A `.pt` or `.pth` file of {hookpoint: {steering_vector, steering_coefficient, action, bias,
head_index}}; see `SteeredModel` in lm-eval. A hookpoint names a module of `model.base_model`,
such as `layers.3` or `h.3`; those that are blocks become sites. lm-eval loads such a file with
full unpickling, which can run any code in it. Here it is read as tensors and plain values alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steereval.models.steering.hook_points import Site
from steereval.models.vectors.direction import Direction, as_vector, unusable
from steereval.models.vectors.files import written_whole
from steereval.models.vectors.tensor_files import load_plain_pickle

_BLOCK = re.compile(
    r"(?:(?:base_model|model|decoder|language_model|transformer|gpt_neox|backbone)\.)*"
    r"(?:layers|h|blocks)\.(\d+)",
    re.ASCII,
)


def read_steered(path: Path) -> dict[Site, Direction]:
    """Directions at each block, lowest first. Raises ArtefactError for other content."""
    content = load_plain_pickle(path)
    if not isinstance(content, dict) or not content:
        raise unusable(path, "it holds no {hookpoint: {steering_vector, ...}}")
    directions: dict[Site, Direction] = {}
    for hookpoint, entry in content.items():
        site = _site(hookpoint, path)
        if site in directions:
            raise unusable(path, f"two hookpoints are block {site}")
        if not isinstance(entry, dict):
            raise unusable(path, f"{hookpoint} is {type(entry).__name__}, not a dict")
        directions[site] = _direction(entry, hookpoint, path)
    return dict(sorted(directions.items()))


def is_steered(path: Path) -> bool:
    """Whether a torch file holds a dict of dicts, which only this format does.

    Raises:
        ArtefactError: The file cannot be read.
    """
    content = load_plain_pickle(path)
    return isinstance(content, dict) and any(isinstance(each, dict) for each in content.values())


def write_steered(directions: Mapping[Site, Direction], path: Path, blocks: str = "layers") -> None:
    """Write `directions` for a model whose blocks are `blocks` of `model.base_model`.

    That is `layers` in most families and `h` in GPT-2's. Raises StoreError.
    """
    content = {f"{blocks}.{site.layer}": _entry(each) for site, each in directions.items()}
    buffer = BytesIO()
    torch.save(content, buffer)
    with written_whole(path) as staging:
        staging.write_bytes(buffer.getvalue())


def _entry(direction: Direction) -> dict[str, Any]:
    """One value of the file; lm-eval refuses a bias with "add"."""
    bias = direction.bias if direction.action == "clamp" else None
    return {
        "steering_vector": _copied(direction.vector),
        "steering_coefficient": float(direction.coefficient),
        "action": direction.action,
        "bias": None if bias is None else _copied(bias),
        "head_index": None,
    }


def _copied(vector: Tensor) -> Tensor:
    """A copy: torch.save writes the whole memory that a tensor is a part of."""
    return vector.detach().cpu().float().clone()


def _site(hookpoint: Any, path: Path) -> Site:
    match = _BLOCK.fullmatch(hookpoint) if isinstance(hookpoint, str) else None
    if match is None:
        raise unusable(
            path,
            f"hookpoint {hookpoint!r} is not the output of a block",
            "Only whole blocks are steered: layers.3, h.3, decoder.layers.3 and the like.",
        )
    return Site(int(match[1]))


def _direction(entry: Mapping[str, Any], hookpoint: str, path: Path) -> Direction:
    if entry.get("head_index") is not None:
        raise unusable(
            path,
            f"{hookpoint} has head_index {entry['head_index']!r}",
            "lm-eval applies it to outputs [batch, tokens, heads, features]; a block's output has "
            "no heads. Leave head_index out, or fit method iti_heads.",
        )
    action, bias = entry.get("action"), entry.get("bias")
    if action not in ("add", "clamp"):
        raise unusable(path, f"{hookpoint} has action {action!r}, not add or clamp")
    if action == "add" and bias is not None:
        raise unusable(path, f"{hookpoint} adds and has a bias, which only clamps have")
    vector = as_vector(entry.get("steering_vector"), f"{hookpoint}'s steering_vector", path)
    if bias is not None:
        bias = as_vector(bias, f"{hookpoint}'s bias", path)
        if len(bias) != len(vector):
            raise unusable(path, f"{hookpoint} has {len(vector)} entries, its bias {len(bias)}")
    if action == "clamp" and not vector.any():
        raise unusable(path, f"{hookpoint} clamps along a vector of zeros")
    return Direction(vector, action, _coefficient(entry, hookpoint, path), bias)


def _coefficient(entry: Mapping[str, Any], hookpoint: str, path: Path) -> float:
    value = entry.get("steering_coefficient", 1.0)
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise unusable(path, f"{hookpoint} has the steering_coefficient {value!r}")
    return number
