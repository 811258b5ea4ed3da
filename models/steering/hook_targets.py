"""Where hooks attach to a model, and hooks that read the states there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steereval.models.steering.hook_points import (
    Site,
    block_at,
    check_sites,
    head_width,
    output_projection,
)


@dataclass(frozen=True, eq=False)
class HookTarget:
    """Where one hook acts: a block's output, or the heads that enter its output projection."""

    sites: Sequence[Site]
    """The steered sites."""
    width: int | None
    """Width of a head; None for a block's output."""

    def start(self, site: Site) -> int:
        """First of the target's dimensions that belong to `site`."""
        return 0 if self.width is None or site.head is None else site.head * self.width


Change = Callable[[HookTarget, Tensor], Tensor]
"""Takes a target and its states [rows, length, d]."""


def hook_targets(model: nn.Module, sites: Sequence[Site]) -> list[HookTarget]:
    """The targets, one for each hook."""
    groups: dict[tuple[int, bool], list[Site]] = {}
    for site in sites:
        groups.setdefault((site.layer, site.head is None), []).append(site)
    return [HookTarget(group, None if whole else _head_width(model, layer))
            for (layer, whole), group in groups.items()]  # fmt: skip


def _head_width(model: nn.Module, layer: int) -> int:
    return head_width(model, output_projection(block_at(model, layer)))


def attach(model: nn.Module, target: HookTarget, change: Change) -> Any:
    """Register `change` on the states of one target; returns the handle."""
    block = block_at(model, target.sites[0].layer)
    if target.width is None:

        def on_block(module: nn.Module, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (change(target, output[0]), *output[1:])
            return change(target, output)

        return block.register_forward_hook(on_block)

    def on_projection(module: nn.Module, inputs: Any) -> Any:
        return (change(target, inputs[0]), *inputs[1:])

    return output_projection(block).register_forward_pre_hook(on_projection)


class _Enough(Exception):
    """All sites were read, so the rest of the forward pass is not needed."""


@contextmanager
def reading(model: nn.Module, sites: Sequence[Site]) -> Iterator[Callable[..., dict[Site, Tensor]]]:
    """A function that runs the model and returns the states [rows, length, d] at `sites`.

    The pass stops after the highest site.
    """
    check_sites(model, sites)
    states: dict[Site, Tensor] = {}
    highest = max(site.layer for site in sites)

    def read(target: HookTarget, hidden: Tensor) -> Tensor:
        for site in target.sites:
            start = target.start(site)
            states[site] = hidden.detach()[..., start : target.width and start + target.width]
        return hidden

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        raise _Enough

    def run(**inputs: Any) -> dict[Site, Tensor]:
        states.clear()
        try:
            with torch.no_grad():
                model(**inputs)
        except _Enough:
            pass
        return dict(states)

    with ExitStack() as stack:
        for target in hook_targets(model, sorted(set(sites))):
            stack.callback(attach(model, target, read).remove)
        stack.callback(block_at(model, highest).register_forward_hook(stop).remove)
        yield run
