"""Blocks, heads and projections are found in any architecture, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from steereval.common.errors import ModelError
from steereval.models.steering.hook_points import (
    Site,
    block_at,
    check_sites,
    find_blocks,
    head_width,
    output_projection,
)

WITHOUT_HEADS = {"mamba"}
HYBRID = {"lfm2"}
HEAD_WIDTHS = {"mistral": 12, "qwen3": 12, "gemma2": 16, "gemma3": 16}


def test_finds_every_block(any_model: Any) -> None:
    blocks = find_blocks(any_model)
    assert len(blocks) == 3
    called: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, index=index: called.append(index))
        for index, block in enumerate(blocks)
    ]
    any_model(input_ids=torch.tensor([[5, 6, 7]]))
    for handle in handles:
        handle.remove()
    assert called == [0, 1, 2]
    assert [block_at(any_model, layer) for layer in range(3)] == list(blocks)


@pytest.mark.parametrize("layer", [-1, 3, 99])
def test_layer_out_of_range(any_model: Any, layer: int) -> None:
    with pytest.raises(ModelError, match=rf"layer {layer} .*3 blocks.*from 0 to 2"):
        block_at(any_model, layer)


def test_projection_takes_the_heads_side_by_side(architecture: str, any_model: Any) -> None:
    block = block_at(any_model, 1)
    if architecture in WITHOUT_HEADS:
        with pytest.raises(ModelError, match="no attention output projection"):
            output_projection(block)
        with pytest.raises(ModelError, match="attention heads"):
            check_sites(any_model, [Site(1, 0)])
        return
    widths: list[int] = []
    projection = output_projection(block)
    handle = projection.register_forward_pre_hook(
        lambda _, inputs: widths.append(inputs[0].shape[-1])
    )
    any_model(input_ids=torch.tensor([[5, 6, 7]]))
    handle.remove()
    width = head_width(any_model, projection)
    assert width == HEAD_WIDTHS.get(architecture, 8)
    assert widths == [4 * width]


def test_head_out_of_range(architecture: str, any_model: Any) -> None:
    if architecture in WITHOUT_HEADS:
        pytest.skip("it has no attention")
    check_sites(any_model, [Site(1, head) for head in range(4)])
    for head in (-1, 4):
        with pytest.raises(ModelError, match=rf"head {head} .*4 heads.*from 0 to 3"):
            check_sites(any_model, [Site(1, head)])


def test_block_without_attention_has_no_heads(tiny: Any) -> None:
    with pytest.raises(ModelError, match="no attention output projection"):
        check_sites(tiny("lfm2"), [Site(0, 0)])


@pytest.mark.parametrize(
    ("name", "target"), [("llama", "o_proj"), ("gpt2", "c_proj"), ("falcon", "dense")]
)
def test_lora_wrapped(lora: Any, name: str, target: str) -> None:
    model = lora(name, target)
    blocks = find_blocks(model)
    assert len(blocks) == 3
    projection = output_projection(blocks[1])
    assert hasattr(projection, "base_layer"), "the wrapper takes the heads, so it is meant"
    assert head_width(model, projection) == 8
    check_sites(model, [Site(2, 3)])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.Linear(2, 2)


class Expert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(2, 2)


def stack(count: int, kind: type[nn.Module] = Block) -> nn.Module:
    holder = nn.Module()
    holder.layers = nn.ModuleList(kind() for _ in range(count))
    return holder


@pytest.mark.parametrize(
    "tower",
    ["vision_tower", "visual", "vision_model", "audio_tower", "image_encoder", "speech_encoder"],
)
def test_tower_is_not_the_decoder(tower: str) -> None:
    model = nn.Module()
    model.add_module(tower, stack(9))
    model.language_model = stack(4)
    model.experts = stack(12, Expert)
    assert find_blocks(model) is model.language_model.layers


def test_hybrid_whose_first_block_is_of_another_kind() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList([Expert(), Block(), Block()])
    assert find_blocks(model) is model.layers


def test_no_blocks() -> None:
    with pytest.raises(ModelError, match="no list of decoder blocks was found in Module"):
        find_blocks(stack(3, Expert))


def test_projection_of_no_whole_number_of_heads(tiny: Any) -> None:
    with pytest.raises(ModelError, match="not 4 heads side by side"):
        head_width(tiny("llama"), nn.Linear(30, 30))


@given(st.integers(0, 500), st.none() | st.integers(0, 200))
def test_site_round_trip(layer: int, head: int | None) -> None:
    site = Site(layer, head)
    assert Site.parse(str(site)) == site


@pytest.mark.parametrize("text", ["", "x", "1.hx", "h3"])
def test_no_site(text: str) -> None:
    with pytest.raises(ValueError):
        Site.parse(text)


def test_order_is_that_of_the_forward_pass() -> None:
    assert sorted([Site(2), Site(1), Site(1, 3), Site(0), Site(1, 0)]) == [
        Site(0),
        Site(1, 0),
        Site(1, 3),
        Site(1),
        Site(2),
    ]
