"""Names of a model's weights: a hash of every bit, and a cheap version that changes with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

THREADS = 4
"""Tensors that are hashed at the same time: a core hashes about two gigabytes a second."""


def hash_of_weights(model: nn.Module) -> str | None:
    """SHA-256 over all parameters and persistent buffers of `model`, every bit of them, in
    hexadecimal; None where some are not in memory or not whole in it (offloaded, sharded).

    The settings of adapters, which are not tensors, count as well. What a configuration decides
    (buffers that are not saved, attributes of modules) does not.
    """
    named = list(_tensors(model))
    if any(tensor.is_meta or hasattr(tensor, "full_tensor") for _, tensor in named):
        return None
    digest = hashlib.sha256(_adapters(model).encode())
    with ThreadPoolExecutor(THREADS) as pool:
        for (name, tensor), content in zip(named, pool.map(_content, named), strict=True):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {content}".encode())
    return digest.hexdigest()


def versions_of(model: nn.Module) -> tuple[tuple[int, int], ...]:
    """Address and version of every parameter and persistent buffer of `model`.

    PyTorch raises a tensor's version with every change in place, but for changes through
    `tensor.data` or NumPy, and those of tensors that were made in inference mode.
    """
    return tuple(
        (tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version)
        for module in model.modules()
        for tensor in _own_tensors(module)
    )


def _own_tensors(module: nn.Module) -> Iterator[Tensor]:
    transient = module._non_persistent_buffers_set
    buffers = {name: each for name, each in module._buffers.items() if name not in transient}
    yield from (each for each in (*module._parameters.values(), *buffers.values())
                if each is not None)  # fmt: skip


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors that the model saves, tied ones once. Quantised layers save their scales too."""
    seen = set[tuple[int, torch.Size, tuple[int, ...], torch.dtype]]()
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            continue
        key = value.data_ptr(), value.shape, value.stride(), value.dtype
        if value.is_meta or key not in seen:
            seen.add(key)
            yield name, value


def _content(named: tuple[str, Tensor]) -> str:
    values = named[1].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(values.data).hexdigest()


def _adapters(model: nn.Module) -> str:
    """Which adapters act, and how strongly."""
    adapters: list[Any] = []
    for name, module in model.named_modules():
        state = {
            setting: str(getattr(module, setting))
            for setting in ("scaling", "active_adapters", "disable_adapters", "merged_adapters")
            if isinstance(getattr(module, setting, None), (dict, list, bool))
        }
        if state:
            adapters.append((name, state))
    return repr(adapters)
