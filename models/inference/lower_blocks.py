"""Blocks below the steering run once: cells of a grid differ only above them.

The states that leave the lowest steered block, before they are steered, are kept by the tokens
of the pass; every pass over some of these tokens starts there.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steereval.models.inference.prefix_tree import PackedRow
from steereval.models.steering.hook_points import find_blocks
from steereval.models.steering.intervention import Intervention


@dataclass
class LowerBlocks:
    """States between the lower and the upper blocks of one model."""

    model: nn.Module
    """The model."""
    limit: int = 1 << 30
    """Bytes that the kept states may take; those not used for longest go first."""
    cached: OrderedDict[bytes, Tensor] = field(default_factory=OrderedDict)
    """States [1, T, d] by what was fed, least recently used first."""

    def states(self, layer: int, key: bytes, run: Callable[[], object]) -> Tensor:
        """States [1, T, d] that leave block `layer` in the forward pass that `run` makes.

        It runs only if `key` is new, and only up to that block. `key` must say all that decides
        the states. Hooks that are at work would change them.
        """
        if key in self.cached:
            self.cached.move_to_end(key)
            return self.cached[key]
        states = _up_to(find_blocks(self.model)[layer], run)
        self.cached[key] = states
        while sum(t.numel() * t.element_size() for t in self.cached.values()) > self.limit:
            self.cached.popitem(last=False)
        return states

    @contextmanager
    def resumed(self, layer: int, states: Tensor) -> Iterator[None]:
        """Passes inside the block start above block `layer`, with `states` [1, T, d].

        Steering hooks on block `layer` and above act as ever.
        """
        with ExitStack() as stack:
            _skip(list(find_blocks(self.model))[: layer + 1], states, stack)
            yield


class _Reached(Exception):
    """The pass has come far enough."""


def _up_to(block: nn.Module, run: Callable[[], object]) -> Tensor:
    """The output of `block`; the rest of the pass is not run."""
    states: list[Tensor] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError("the block returns more than its states")
        states.append(output.detach())
        raise _Reached

    handle = block.register_forward_hook(hook)
    try:
        run()
    except _Reached:
        pass
    finally:
        handle.remove()
    return states[0]


def _skip(blocks: Sequence[nn.Module], states: Tensor, stack: ExitStack) -> None:
    """Let `blocks` hand on `states` without computing anything; their hooks still run."""

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        return states

    for block in blocks:
        block.forward = forward
        stack.callback(delattr, block, "forward")


def lowest_block(interventions: Sequence[Intervention]) -> int | None:
    """The last block whose output, before steering, no acting intervention changes.

    None if nothing acts, or if block 0 is changed inside.
    """
    sites = [site for each in interventions if each.acts for site in each.steerers]
    if not sites:
        return None
    lowest = min(site.layer if site.head is None else site.layer - 1 for site in sites)
    return lowest if lowest >= 0 else None


def pass_key(layer: int, shared_prefix: Sequence[int], pack: PackedRow) -> bytes:
    """Names a pass by all that decides what the lower blocks compute."""
    digest = hashlib.sha256(repr((layer, tuple(shared_prefix))).encode())
    for array in (pack.tokens, pack.depths, pack.visible):
        digest.update(array.tobytes())
    return digest.digest()


def supports_skipping(model: nn.Module) -> bool:
    """Whether upper blocks can run from kept states: nothing else passes between blocks.

    Tries it on a few tokens. False for models whose blocks return more than their states, share
    keys and values across blocks, or are moved between devices by hooks.
    """
    blocks = list(find_blocks(model))
    if len(blocks) < 2 or any(hasattr(block, "_hf_hook") for block in blocks):
        return False
    ids = torch.tensor([[5, 6, 7, 8]], device=model.get_input_embeddings().weight.device)  # type: ignore[operator]
    lower, middle = LowerBlocks(model), len(blocks) // 2

    def run() -> Tensor:
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits

    try:
        with torch.no_grad():
            whole = run()
            with lower.resumed(middle, lower.states(middle, b"trial", run)):
                resumed = run()
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False
    return bool(torch.allclose(whole, resumed, rtol=1e-4, atol=1e-4))
