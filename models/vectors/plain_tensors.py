"""Vectors by layer as plain tensors: one [d] a layer, one for all layers, or a matrix [layers, d].

Tensors `layer.N` [d] in a safetensors file are written, N the 0-based block. Read are `N`,
`layers.N` and `model.layers.N` too, other names by a pattern such as `blocks.{layer}.direction`,
vectors of shape [1, d], and single tensors without a name: a vector steers every layer asked for, a
matrix [layers, d] holds the vector of each block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from steereval.common.errors import InputError
from steereval.models.steering.hook_points import Site
from steereval.models.vectors.direction import Direction, as_vector, unusable
from steereval.models.vectors.files import written_whole
from steereval.models.vectors.tensor_files import contents, read_tensors

LAYER = "{layer}"
"""Stands for the number of the block in a pattern of names."""
_NAME = re.compile(r"(?:layer\.|layers\.|model\.layers\.)?(\d{1,6})", re.ASCII)


def read_plain(path: Path, key: str = "", sites: Sequence[Site] = ()) -> dict[Site, Direction]:
    """The vectors, lowest layer first.

    Args:
        path: A .safetensors, .pt, .pth, .npz or .npy file.
        key: Name of the tensors, with `{layer}` in place of the block's number, or of one tensor.
        sites: Where a vector that names no layer is used.

    Raises:
        ArtefactError: The file holds anything else.
        InputError: A vector names no layer, and no site is given.
    """
    tensors = read_tensors(path)
    if key and LAYER not in key:
        return _single(path, _named(path, tensors, key), key, sites)
    if not key and tensors.keys() == {""}:
        return _single(path, tensors[""], "the tensor", sites)
    return _by_layer(path, tensors, _pattern(key))


def write_plain(vectors: Mapping[Site, Tensor], path: Path) -> None:
    """Write vectors [d] by site in float32. Raises StoreError."""
    tensors = {f"layer.{site.layer}": _copied(vector) for site, vector in vectors.items()}
    with written_whole(path) as staging:
        staging.write_bytes(save(tensors))


def _pattern(key: str) -> re.Pattern[str]:
    if not key:
        return _NAME
    before, _, after = key.partition(LAYER)
    return re.compile(rf"{re.escape(before)}(\d{{1,6}}){re.escape(after)}", re.ASCII)


def _by_layer(
    path: Path, tensors: Mapping[str, Tensor], pattern: re.Pattern[str]
) -> dict[Site, Direction]:
    directions: dict[Site, Direction] = {}
    for name, tensor in tensors.items():
        match = pattern.fullmatch(name)
        if match is None:
            if pattern is _NAME:
                why = f"tensor {name!r} is not named like layer.14"
                raise unusable(path, why, _by_key(tensors))
            continue
        site = Site(int(match[1]))
        if site in directions:
            raise unusable(path, f"two tensors are named after layer {site}")
        directions[site] = _direction(tensor, f"tensor {name!r}", path)
    if not directions:
        raise unusable(path, _nothing(tensors, pattern), _by_key(tensors) if tensors else "")
    return dict(sorted(directions.items()))


def _nothing(tensors: Mapping[str, Tensor], pattern: re.Pattern[str]) -> str:
    if not tensors:
        return "it holds no tensors"
    key = pattern.pattern.replace(r"(\d{1,6})", LAYER).replace("\\", "")
    return f"no tensor is named like {key}; it holds {contents(tensors)}"


def _named(path: Path, tensors: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in tensors:
        raise unusable(path, f"it has no tensor {key!r}; it holds {contents(tensors)}")
    return tensors[key]


def _single(path: Path, tensor: Tensor, name: str, sites: Sequence[Site]) -> dict[Site, Direction]:
    """A vector at all sites, or the rows of a matrix at their blocks."""
    if tensor.ndim == 2 and tensor.shape[0] > 1:
        return {
            Site(row): _direction(vector, f"row {row} of {name}", path)
            for row, vector in enumerate(tensor)
        }
    if not sites:
        raise InputError(
            f"{path} does not say to which layer its vector belongs", "Name the layer to steer."
        )
    return dict.fromkeys(sites, _direction(tensor, name, path))


def _direction(tensor: Tensor, name: str, path: Path) -> Direction:
    if tensor.ndim == 2 and tensor.shape[0] == 1:
        tensor = tensor[0]
    return Direction(as_vector(tensor, name, path))


def _by_key(tensors: Mapping[str, Tensor]) -> str:
    return (
        f"It holds {contents(tensors)}. Set the option key, such as `key: blocks.{LAYER}.vector`, "
        'or convert it: `safetensors.torch.save_file({"layer.14": vector}, "vectors.safetensors")`.'
    )


def _copied(vector: Tensor) -> Tensor:
    """A copy: safetensors refuses tensors that share memory."""
    return vector.detach().cpu().float().clone(memory_format=torch.contiguous_format)
