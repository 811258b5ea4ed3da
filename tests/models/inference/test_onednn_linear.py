"""Linear layers through oneDNN give what PyTorch's own give, and step aside where they cannot."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from steereval.models.inference import onednn_linear
from steereval.models.inference.onednn_linear import OneDNNLinear, use_onednn

pytestmark = pytest.mark.skipif(
    not onednn_linear.products_work(), reason="no oneDNN in this PyTorch"
)
sizes = st.integers(1, 70)


def layer(inside: int = 24, outside: int = 40, *, bias: bool = True) -> Any:
    """A layer that works through oneDNN, the same in every call."""
    torch.manual_seed(0)
    result = nn.Linear(inside, outside, bias=bias)
    assert use_onednn(result)
    return result


@given(st.lists(st.integers(0, 9), max_size=2), sizes, sizes, st.booleans())
def test_products_equal_those_of_pytorch(
    before: list[int], inside: int, outside: int, bias: bool
) -> None:
    linear = layer(inside, outside, bias=bias)
    x = torch.randn(*before, inside)
    with torch.no_grad():
        expected = nn.functional.linear(x, linear.weight, linear.bias)
        torch.testing.assert_close(linear(x), expected, atol=1e-5, rtol=1e-5)
        wide = torch.cat([x, x], dim=-1)
        torch.testing.assert_close(linear(wide[..., :inside]), expected, atol=1e-5, rtol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    linear, x = layer(576, 192), torch.randn(300, 576)
    with torch.no_grad():
        whole = linear(x)
        for rows in (2, 7, 64, 255):
            assert torch.equal(linear(x[:rows]), whole[:rows])


def test_weights_that_change_are_laid_out_again() -> None:
    linear, x = layer(), torch.randn(5, 24)
    with torch.no_grad():
        first = linear(x)
        linear.weight.mul_(2)
        linear.bias.mul_(2)
        torch.testing.assert_close(linear(x), 2 * first)
        linear.weight = nn.Parameter(torch.zeros_like(linear.weight))
        torch.testing.assert_close(linear(x), linear.bias.expand(5, -1))


def test_weights_that_were_rounded_are_laid_out_again() -> None:
    linear, x = layer(), torch.randn(5, 24)
    with torch.no_grad():
        linear(x)
        linear.bfloat16().float()
        expected = nn.functional.linear(x, linear.weight, linear.bias)
        torch.testing.assert_close(linear(x), expected, atol=1e-6, rtol=1e-6)


def test_gradients_are_pytorchs() -> None:
    linear, x = layer(), torch.randn(5, 24, requires_grad=True)
    linear(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, linear.weight.detach().sum(dim=0).expand(5, -1))
    assert linear.weight.grad is not None


def test_other_precisions_are_pytorchs() -> None:
    linear, x = layer(), torch.randn(5, 24)
    with torch.no_grad():
        linear(x)
        assert linear.double()(x.double()).dtype == torch.float64
        linear.float()
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(x).dtype == torch.bfloat16


def test_a_copy_is_a_layer_of_its_own() -> None:
    linear, x = layer(), torch.randn(5, 24)
    with torch.no_grad():
        first = linear(x)
        twin = copy.deepcopy(linear)
        linear.weight.zero_()
        torch.testing.assert_close(twin(x), first)


def test_only_plain_layers_in_float32_change() -> None:
    class Own(nn.Linear):
        """Some library's layer."""

    kinds = nn.ModuleList([nn.Linear(2, 2), Own(2, 2), nn.Linear(2, 2).bfloat16()])
    assert use_onednn(kinds)
    assert [type(kind) for kind in kinds] == [OneDNNLinear, Own, nn.Linear]


def test_a_model_too_large_for_the_memory_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = nn.Linear(100, 100)
    memory = SimpleNamespace(total=4 * 39_999)
    monkeypatch.setattr(onednn_linear.psutil, "virtual_memory", lambda: memory)
    assert not use_onednn(linear)
    memory.total += 4
    assert use_onednn(linear)


def test_a_build_without_it_keeps_its_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    monkeypatch.setattr(onednn_linear, "lay_out", missing)
    linear = nn.Linear(3, 3)
    assert not use_onednn(linear)
    assert type(linear) is nn.Linear
