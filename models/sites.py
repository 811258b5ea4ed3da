"""Where steering acts: a block's output, or one attention head's input to the output projection.

Blocks are found by structure, not by a list of architectures: a decoder's blocks are the longest
`ModuleList` of modules of one class that hold attention or another sequence mixer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from steereval.errors import ModelError

_PROJECTION_NAMES = ("o_proj", "out_proj", "c_proj", "dense", "wo", "proj")
_ATTENTION_NAMES = ("attn", "attention")


@dataclass(frozen=True, order=True)
class Site:
    """A place in a decoder whose activations are read and steered."""

    layer: int
    """0-based index of the block."""
    head: int | None = None
    """Attention head whose slice of the output projection's input is meant; None: block output."""

    def __str__(self) -> str:
        """`14`, or `14.h3` for a head; the inverse of `parse`."""
        return str(self.layer) if self.head is None else f"{self.layer}.h{self.head}"

    @classmethod
    def parse(cls, text: str) -> Site:
        """The site that `str` wrote; ValueError if `text` is none."""
        layer, _, head = text.partition(".h")
        return cls(int(layer), int(head) if head else None)


def find_blocks(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks of `model`, first to last, whatever its architecture or wrapping.

    Raises ModelError if no list of blocks is found.
    """
    candidates = [module for _, module in _decoder_lists(model)]
    if not candidates:
        raise ModelError(
            f"no list of decoder blocks was found in {type(model).__name__}",
            "Steering needs a decoder made of a ModuleList of blocks of one class.",
        )
    return max(candidates, key=len)


def _decoder_lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """Lists of sequence-mixing blocks outside vision and audio towers."""
    for name, module in model.named_modules():
        parts = name.lower().split(".")
        if any(word in part for part in parts for word in ("vision", "visual", "audio", "encoder")):
            continue
        if isinstance(module, nn.ModuleList) and len(module) > 0 and _is_mixer(module[0]):
            yield name, module


def _is_mixer(block: nn.Module) -> bool:
    """Whether `block` holds attention, a convolution or a recurrence: mixes positions, that is."""
    words = (*_ATTENTION_NAMES, "mixer", "conv", "temporal", "recurrent")
    return any(word in name.lower() for name, _ in block.named_children() for word in words)


def block_at(model: nn.Module, layer: int) -> nn.Module:
    """Block `layer` (0-based) of `model`. Raises ModelError when there is no such block."""
    blocks = find_blocks(model)
    if not 0 <= layer < len(blocks):
        raise ModelError(
            f"layer {layer} is out of range: this model has {len(blocks)} blocks",
            f"Choose a layer from 0 to {len(blocks) - 1}.",
        )
    block: nn.Module = blocks.get_submodule(str(layer))
    return block


def output_projection(block: nn.Module) -> nn.Module:
    """The attention's output projection in `block`, whose input is the heads side by side.

    Raises ModelError if the block has none that is recognised.
    """
    for name, module in block.named_modules():
        parts = name.split(".")
        inside_attention = any(word in part for part in parts[:-1] for word in _ATTENTION_NAMES)
        if inside_attention and parts[-1] in _PROJECTION_NAMES and hasattr(module, "weight"):
            return module
    raise ModelError(
        f"no attention output projection was found in {type(block).__name__}",
        "Head sites need one of: " + ", ".join(_PROJECTION_NAMES) + ".",
    )


def head_width(model: nn.Module) -> int:
    """Width of one attention head, from the model's configuration."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    explicit = getattr(config, "head_dim", None)
    return int(explicit or config.hidden_size // config.num_attention_heads)


def check_sites(model: nn.Module, sites: Sequence[Site]) -> None:
    """Raise ModelError unless every one of `sites` exists in `model`."""
    for site in sites:
        block = block_at(model, site.layer)
        if site.head is None:
            continue
        heads = model.config.get_text_config().num_attention_heads  # type: ignore[operator, union-attr]
        if not 0 <= site.head < heads:
            raise ModelError(
                f"head {site.head} is out of range: this model has {heads} heads",
                f"Choose a head from 0 to {heads - 1}.",
            )
        output_projection(block)
