"""Vectors by layer in a safetensors file: tensors `layer.N` [d], N the 0-based block.

`N`, `layers.N` and `model.layers.N` are read as well; `layer.N` is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from steereval.models.steering.hook_points import Site
from steereval.models.vectors.direction import Direction, as_vector, unusable
from steereval.models.vectors.files import opened_safetensors, written_whole

_NAME = re.compile(r"(?:layer\.|layers\.|model\.layers\.)?(\d+)", re.ASCII)


def read_plain(path: Path) -> dict[Site, Direction]:
    """The vectors, lowest layer first. Raises ArtefactError for any other content."""
    directions: dict[Site, Direction] = {}
    with opened_safetensors(path) as file:
        for name in file.keys():  # noqa: SIM118 - the open file is no mapping
            match = _NAME.fullmatch(name)
            if match is None:
                raise unusable(path, f"tensor {name!r} is not named like layer.14")
            site = Site(int(match[1]))
            if site in directions:
                raise unusable(path, f"two tensors are named after layer {site}")
            directions[site] = Direction(as_vector(file.get_tensor(name), f"tensor {name!r}", path))
    if not directions:
        raise unusable(path, "it holds no tensors")
    return dict(sorted(directions.items()))


def write_plain(vectors: Mapping[Site, Tensor], path: Path) -> None:
    """Write vectors [d] by site in float32. Raises StoreError."""
    tensors = {f"layer.{site.layer}": _own(vector) for site, vector in vectors.items()}
    with written_whole(path) as staging:
        staging.write_bytes(save(tensors))


def _own(vector: Tensor) -> Tensor:
    """A copy: safetensors refuses tensors that share memory."""
    return vector.detach().cpu().float().clone(memory_format=torch.contiguous_format)
