"""Where steering acts: a block's output, or one attention head's input to the output projection.

Blocks are found by structure, not by a list of architectures: a decoder's blocks are the longest
`ModuleList`, outside towers for images and sound, of modules that hold attention or another
sequence mixer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from steereval.common.errors import ModelError

_PROJECTION_NAMES = ("o_proj", "out_proj", "c_proj", "dense", "wo", "proj")
_ATTENTION_NAMES = ("attn", "attention")
_MIXER_NAMES = (*_ATTENTION_NAMES, "mixer", "conv", "temporal", "recurrent", "mamba", "lstm", "ssm")
_TOWER_NAMES = ("vision", "visual", "image", "audio", "speech", "encoder", "tower")


@dataclass(frozen=True)
class Site:
    """A hook point of a decoder, where activations are read and steered.

    It is the output of a block, or one attention head's slice of the input to the block's output
    projection.
    """

    layer: int
    """0-based index of the block."""
    head: int | None = None
    """0-based index of the attention head; None: the block's output."""

    def __lt__(self, other: Site) -> bool:
        """Whether it comes before `other` in a forward pass: heads before their block's output."""
        return self._rank < other._rank

    @property
    def _rank(self) -> tuple[int, bool, int]:
        return self.layer, self.head is None, self.head or 0

    def __str__(self) -> str:
        """`14`, or `14.h3` for a head; the inverse of `parse`."""
        return str(self.layer) if self.head is None else f"{self.layer}.h{self.head}"

    @classmethod
    def parse(cls, text: str) -> Site:
        """Parse what `str` wrote.

        Raises:
            ValueError: `text` has another form.
        """
        layer, _, head = text.partition(".h")
        return cls(int(layer), int(head) if head else None)


def find_blocks(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks of `model`, first to last, for any architecture or wrapping.

    Raises ModelError if no list of blocks is found.
    """
    candidates = list(_decoder_lists(model))
    if not candidates:
        raise ModelError(
            f"no list of decoder blocks was found in {type(model).__name__}",
            "Steering needs a decoder made of a ModuleList of blocks with attention or the like.",
        )
    return max(candidates, key=len)


def _decoder_lists(model: nn.Module) -> Iterator[nn.ModuleList]:
    """Lists of sequence-mixing blocks outside vision and audio towers."""
    for name, module in model.named_modules():
        if any(word in name.lower() for word in _TOWER_NAMES):
            continue
        if isinstance(module, nn.ModuleList) and any(_is_mixer(block) for block in module):
            yield module


def _is_mixer(block: nn.Module) -> bool:
    """Whether `block` holds attention, a convolution or a recurrence: mixes positions, that is."""
    names = [name.lower() for name, _ in block.named_children()]
    return any(word in name for name in names for word in _MIXER_NAMES)


def block_at(model: nn.Module, layer: int) -> nn.Module:
    """Block `layer` (0-based) of `model`. Raises ModelError when there is no such block."""
    blocks = find_blocks(model)
    if not 0 <= layer < len(blocks):
        raise ModelError(
            f"layer {layer} is out of range: this model has {len(blocks)} blocks",
            f"Choose a layer from 0 to {len(blocks) - 1}.",
        )
    return blocks.get_submodule(str(layer))


def output_projection(block: nn.Module) -> nn.Module:
    """The attention's output projection in `block`, whose input is the heads side by side.

    Raises ModelError if the block has none that is recognised.
    """
    module: nn.Module
    for name, module in block.named_modules():
        parts = name.split(".")
        if not any(_is_attention(part) for part in parts[:-1]):
            continue
        if parts[-1] in _PROJECTION_NAMES and getattr(module, "weight", None) is not None:
            return module
    raise ModelError(
        f"no attention output projection was found in {type(block).__name__}",
        "Head sites need one of: " + ", ".join(_PROJECTION_NAMES) + ".",
    )


def _is_attention(name: str) -> bool:
    """Whether a module of this name is attention with heads; linear attention has its own."""
    return "linear" not in name and any(word in name for word in _ATTENTION_NAMES)


def head_width(model: nn.Module, projection: nn.Module) -> int:
    """Width of one attention head at the input of its output `projection`.

    Read off the projection, since a head's values may be wider than its keys. Raises ModelError
    if that input is not a whole number of heads.
    """
    width = getattr(projection, "in_features", None) or getattr(projection, "nx", None)
    heads = attention_heads(model)
    if not isinstance(width, int) or width % heads:
        raise ModelError(
            f"the input of {type(projection).__name__} is not {heads} heads side by side",
            "Steer the block's output instead.",
        )
    return width // heads


def attention_heads(model: nn.Module) -> int:
    """Attention heads in a block. Raises ModelError if the model does not say."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):
        raise ModelError(
            f"{type(model).__name__} does not say how many attention heads it has",
            "Steer the block's output instead.",
        )
    return heads


def check_sites(model: nn.Module, sites: Sequence[Site]) -> None:
    """Raise ModelError unless every one of `sites` exists in `model`."""
    for site in sites:
        block = block_at(model, site.layer)
        if site.head is None:
            continue
        heads = attention_heads(model)
        if not 0 <= site.head < heads:
            raise ModelError(
                f"head {site.head} is out of range: this model has {heads} heads",
                f"Choose a head from 0 to {heads - 1}.",
            )
        head_width(model, output_projection(block))
