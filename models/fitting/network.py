"""Small networks inside steerers: trained as modules, frozen as plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

Weights = tuple[Tensor, ...]
"""Weight and bias of each linear layer in turn: [out, in], [out], ..."""


def linear_layers(widths: Sequence[int]) -> nn.ModuleList:
    """Linear layers between consecutive widths."""
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))


def frozen(layers: nn.ModuleList) -> Weights:
    """The tensors of linear layers, float32 on the CPU."""
    tensors: list[Tensor] = []
    for layer in layers:
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        tensors += [weight.detach().cpu().float().clone(), bias.detach().cpu().float().clone()]
    return tuple(tensors)


def apply_mlp(weights: Weights, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """The network's output [..., out] for x [..., in], no activation after the last layer."""
    last = len(weights) // 2 - 1
    for index in range(last + 1):
        weight, bias = weights[2 * index].to(x.dtype), weights[2 * index + 1].to(x.dtype)
        x = F.linear(x, weight, bias)
        if index < last:
            x = activation(x)
    return x


def relu_gradient(weights: Weights, x: Tensor) -> Tensor:
    """Gradient [..., in] of the single output of a ReLU network at x [..., in]."""
    masks: list[Tensor] = []
    hidden = x
    for index in range(0, len(weights) - 2, 2):
        hidden = F.linear(hidden, weights[index].to(x.dtype), weights[index + 1].to(x.dtype))
        masks.append(hidden > 0)
        hidden = hidden * masks[-1]
    back = weights[-2].to(x.dtype)[0].expand(*x.shape[:-1], -1)
    for index, mask in zip(range(len(weights) - 4, -2, -2), reversed(masks), strict=True):
        back = (back * mask) @ weights[index].to(x.dtype)
    return back
