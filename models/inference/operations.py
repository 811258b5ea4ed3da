"""Operations and tokens of a model, counted where they happen, for progress within long work."""

from __future__ import annotations

from typing import Any

from torch import nn

from steereval.common.activity import add_operations, add_tokens
from steereval.models.steering.hook_points import find_blocks


def count_operations(model: nn.Module) -> None:
    """Let each pass through a decoder block or the output projection count its operations, and
    through the first block its tokens.

    Two operations a weight and token; attention between tokens is left out, as in a plan.

    Args:
        model: A causal language model of Transformers.
    """
    first, *others = find_blocks(model)
    modules: list[nn.Module] = [first, *others]
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is not None:
        modules.append(head)
    for module in modules:
        weights = sum(parameter.numel() for parameter in module.parameters())
        counter = _counter(2.0 * weights, counts_tokens=module is first)
        module.register_forward_hook(counter, with_kwargs=True)


def _counter(per_token: float, counts_tokens: bool) -> Any:
    def count(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        hidden = args[0] if args else next(iter(kwargs.values()), None)
        shape = getattr(hidden, "shape", ())
        if len(shape) >= 2:
            tokens = 1
            for size in shape[:-1]:
                tokens *= int(size)
            add_operations(per_token * tokens)
            if counts_tokens:
                add_tokens(tokens)

    return count
