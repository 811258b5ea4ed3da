"""Operations and memory of steering and of the model.

Operations are counted by torch's flop counter: two for each multiplication and addition of a matrix
product. It leaves out what is not one, so Fourier transforms (2.5 n log2 n of a real one of length
n) and operations entry by entry (one an entry, a function such as the sine counted as one) are
added: a flow's steps consist of them. Attention on the CPU, which it leaves out too, is counted as
on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from steereval.models.steering.steerer import Steerer

TOKENS = 64
"""Tokens of the text over which the model's operations are averaged."""
_ENTRYWISE = (
    *(
        "add",
        "sub",
        "mul",
        "div",
        "addcmul",
        "addcdiv",
        "neg",
        "pow",
        "sqrt",
        "rsqrt",
        "reciprocal",
    ),
    *(
        "sin",
        "cos",
        "exp",
        "sigmoid",
        "tanh",
        "silu",
        "gelu",
        "relu",
        "where",
        "clamp_min",
        "hypot",
    ),
    *("linalg_vector_norm", "sum", "mean", "index_add", "gather", "index"),
)


def steerer_flops(steerer: Steerer, strength: float) -> float:
    """Operations of steering one token, where the steerer's tensors are; what it decides once for a
    query is not counted."""
    device = next((tensor.device for tensor in steerer.tensors().values()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, steerer.dimension, generator=generator).to(device)
    norm = steerer.median_norm or 1.0
    x = x * norm / x.norm()
    state = steerer.begin(x, ["token"]) if steerer.per_query else None
    # Work done once for a strength is not a cost of a token.
    steerer.apply(x, strength, state)
    return _counted(lambda: steerer.apply(x, strength, state))


def model_flops(model: nn.Module) -> float:
    """Operations of the model for a token, on average over a text of TOKENS tokens."""
    device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    ids = torch.arange(1, TOKENS + 1, device=device)[None]
    with torch.no_grad():
        return _counted(lambda: model(input_ids=ids, use_cache=False)) / TOKENS


def tensor_bytes(steerer: Steerer) -> int:
    """Memory of a steerer's tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in steerer.tensors().values())


def _counted(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
        work()
    return float(counter.get_total_flops())


def _formulas() -> dict[Any, Any]:
    """Formulas of operations that the flop counter leaves out, by torch operator."""
    formulas: dict[Any, Any] = {}
    for name in _ENTRYWISE:
        for variant in (name, f"{name}_"):
            if hasattr(torch.ops.aten, variant):
                formulas[getattr(torch.ops.aten, variant)] = _raw(_of_entries)
    for name in ("_fft_r2c", "_fft_c2r"):
        formulas[getattr(torch.ops.aten, name)] = _raw(_of_transform)
    for name in ("mv", "dot"):
        formulas[getattr(torch.ops.aten, name)] = _raw(_of_products)
    formulas[torch.ops.aten._scaled_dot_product_flash_attention_for_cpu] = _raw(_of_attention)
    return formulas


def _raw(formula: Callable[..., float]) -> Any:
    """Mark a formula as one that takes tensors rather than shapes."""
    formula._get_raw = True  # type: ignore[attr-defined]
    return formula


def _of_entries(*inputs: Any, out_val: Any = None, **_: Any) -> float:
    """One for each entry of the largest tensor; six if it is complex, as a product is."""
    sizes = [each.numel() for each in (*inputs, out_val) if isinstance(each, Tensor)]
    complex_ = isinstance(out_val, Tensor) and out_val.is_complex()
    return float(max(sizes, default=0)) * (6 if complex_ else 1)


def _of_transform(*inputs: Any, out_val: Any = None, **_: Any) -> float:
    real = out_val if inputs[0].is_complex() else inputs[0]
    return 2.5 * float(real.numel()) * math.log2(max(real.shape[-1], 2))


def _of_products(*inputs: Any, out_val: Any = None, **_: Any) -> float:
    return 2.0 * float(inputs[0].numel())


def _of_attention(query: Any, key: Any, *_: Any, out_val: Any = None, **__: Any) -> float:
    """Scores and weighted values, two for each multiplication and addition."""
    return 4.0 * float(query.numel()) * float(key.shape[-2])
