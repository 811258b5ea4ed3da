"""Linear layers in float32 on a CPU by oneDNN, with weights that are laid out for it once.

PyTorch's own product lays the weights out in every call, and its threads wait for each other:
oneDNN's is faster (docs/benchmarks.md), the more threads there are, and a row's result does not
depend on how many others there are, but for one row alone.
"""

from __future__ import annotations

import psutil
import torch
from torch import Tensor, nn

ROWS = 256
"""Rows that weights are laid out for; other numbers of rows are as fast with that layout."""
SHARE_OF_MEMORY = 0.25
"""Share of the machine's memory that laid out weights may take, in addition to the model's own; of
all memory, not of the free part, so that all workers decide alike."""


class OneDNNLinear(nn.Linear):
    """An `nn.Linear` whose passes without gradients, in float32 on a CPU, go through oneDNN."""

    _kept: tuple[Tensor, int, Tensor] | None = None
    """The weights that were laid out, their version then, and what came of it. That they are kept
    keeps others from their address."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` [..., in] -> [..., out]."""
        if not self._serves(input):
            return super().forward(input)
        output: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self._laid_out(), self.bias, "none", [], ""
        )
        return output

    def _serves(self, x: Tensor) -> bool:
        weight = self.weight
        plain = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (x, weight))
        learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        return plain and not learns and not torch.is_autocast_enabled("cpu")

    def _laid_out(self) -> Tensor:
        weight, packed = self.weight.detach(), self._kept
        state = weight.data_ptr(), weight._version
        if packed is None or (packed[0].data_ptr(), packed[1]) != state:
            packed = self._kept = weight, weight._version, lay_out(weight)
        return packed[2]

    def __getstate__(self) -> dict[str, object]:
        """Without what was laid out: no copy of it can be made."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}


def use_onednn(model: nn.Module) -> bool:
    """Let the linear layers of `model` work through oneDNN, where it is there and memory allows;
    whether they do."""
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
    ]
    size = 4 * sum(layer.weight.numel() for layer in layers)
    if size > SHARE_OF_MEMORY * psutil.virtual_memory().total or not products_work():
        return False
    for layer in layers:
        layer.__class__ = OneDNNLinear
    return True


def lay_out(weight: Tensor) -> Tensor:
    """A weight [out, in] in oneDNN's own layout."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return packed


def products_work() -> bool:
    """Whether this build of PyTorch has what is needed: it is what its compiler uses, and no
    public name has it."""
    layer = nn.Linear(3, 2)
    x = torch.ones(4, 3)
    with torch.no_grad():
        expected = layer(x)
        layer.__class__ = OneDNNLinear
        try:
            return bool(torch.allclose(layer(x), expected, atol=1e-5))
        except (RuntimeError, NotImplementedError, AttributeError):
            return False
