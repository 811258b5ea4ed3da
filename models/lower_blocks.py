"""Blocks below the steering run once: cells of a grid differ only above them.

The states that leave the lowest steered block, before they are steered, are kept by the tokens
of the pass; the next pass over the same tokens starts there.
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

from steereval.models.hooks import Intervention
from steereval.models.packing import Pack
from steereval.models.sites import find_blocks

KEPT_BYTES = 1 << 30
"""Most that the kept states may take; those not used for longest go first."""


@dataclass
class LowerBlocks:
    """States between the lower and the upper blocks of one model."""

    model: nn.Module
    """The model."""
    kept: OrderedDict[bytes, Tensor] = field(default_factory=OrderedDict)
    """States [1, T, d] by what was fed, least recently used first."""

    @contextmanager
    def shared(self, layer: int, key: bytes) -> Iterator[None]:
        """A pass inside the block runs blocks 0 to `layer` only if `key` is new.

        `key` must say all that decides their output. Steering hooks on block `layer` and above
        act as ever.
        """
        blocks = list(find_blocks(self.model))[: layer + 1]
        with ExitStack() as stack:
            if key in self.kept:
                self.kept.move_to_end(key)
                _skip(blocks, self.kept[key], stack)
            else:
                _record(blocks[-1], lambda states: self._keep(key, states), stack)
            yield

    def _keep(self, key: bytes, states: Tensor) -> None:
        self.kept[key] = states
        while sum(t.numel() * t.element_size() for t in self.kept.values()) > KEPT_BYTES:
            self.kept.popitem(last=False)


def _record(block: nn.Module, keep: Callable[[Tensor], None], stack: ExitStack) -> None:
    """Keep what leaves `block`, before any other hook changes it."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            keep(output.detach())

    stack.callback(block.register_forward_hook(hook, prepend=True).remove)


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


def pass_key(layer: int, stem: Sequence[int], pack: Pack) -> bytes:
    """Names a pass by all that decides what the lower blocks compute."""
    digest = hashlib.sha256(repr((layer, tuple(stem))).encode())
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
    lower = LowerBlocks(model)
    ids = torch.tensor([[5, 6, 7, 8]], device=model.get_input_embeddings().weight.device)  # type: ignore[operator]
    try:
        whole = _trial(model, lower, ids)
        resumed = _trial(model, lower, ids)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return False
    return bool(lower.kept) and bool(torch.allclose(whole, resumed, rtol=1e-4, atol=1e-4))


def _trial(model: nn.Module, lower: LowerBlocks, ids: Tensor) -> Tensor:
    """Logits of a pass that keeps the states in the middle, or starts from those kept."""
    with torch.no_grad(), lower.shared(len(find_blocks(model)) // 2, b"trial"):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits
