"""Operations and bytes, counted by hand for what is simple."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from method_options import SMALL

from steereval.models.diagnostics.cost import TOKENS, model_flops, steerer_flops, tensor_bytes
from steereval.models.methods.odesteer import PolynomialFlow
from steereval.models.methods.registry import BUILT_IN
from steereval.models.testing import WIDTH, MethodCase


def flow(**options: Any) -> PolynomialFlow:
    steerer = MethodCase(BUILT_IN["odesteer"], {"components": 128, **options}).fit()
    assert isinstance(steerer, PolynomialFlow)
    return steerer


def test_a_shift_costs_a_product_and_a_sum_an_entry() -> None:
    assert steerer_flops(MethodCase(BUILT_IN["caa"]).fit(), 2.0) == 2 * WIDTH


def test_the_exact_flow_costs_two_matrix_products_and_little_a_step() -> None:
    products = 2 * 2 * WIDTH**2
    one, ten, forty = (steerer_flops(flow(steps=k), 2.0) for k in (1, 10, 40))
    assert products < one < products + 20 * WIDTH
    assert forty - ten == pytest.approx(30 * (ten - one) / 9, rel=1e-6)
    assert 5 * WIDTH < (ten - one) / 9 < 15 * WIDTH


def test_the_sketch_costs_transforms_at_every_step() -> None:
    """Degree 3: three transforms forth, one of the weights, three back, and their products."""
    one, two = (steerer_flops(flow(degree=3, steps=k), 2.0) for k in (1, 2))
    transforms = 7 * 2.5 * 128 * 7
    assert transforms < two - one < 2.5 * transforms


def test_a_models_operations_are_two_for_each_weight(tiny: Callable[..., Any]) -> None:
    """Embeddings are looked up; attention over 64 tokens and the norms come on top."""
    model = tiny("llama")
    weights = sum(p.numel() for n, p in model.named_parameters() if "embed_tokens" not in n)
    weights += model.config.tie_word_embeddings * model.get_input_embeddings().weight.numel()
    attention = model.config.num_hidden_layers * 4 * model.config.hidden_size * TOKENS
    result = model_flops(model)
    assert 2 * weights + 0.9 * attention < result < 1.3 * (2 * weights + attention)


ON_BLOCKS = [n for n, m in BUILT_IN.items() if m.fits and m.reads == "block" and n != "none"]


@pytest.mark.parametrize("name", ON_BLOCKS)
def test_every_method_is_counted(name: str) -> None:
    steerer = MethodCase(BUILT_IN[name], SMALL.get(name, {})).fit()
    assert steerer_flops(steerer, 2.0) > 0
    assert tensor_bytes(steerer) >= 4 * WIDTH


def test_bytes() -> None:
    assert tensor_bytes(MethodCase(BUILT_IN["caa"]).fit()) == 4 * WIDTH
    both = flow()
    assert tensor_bytes(both) - tensor_bytes(replace(both, basis=both.basis[:0])) == 4 * WIDTH**2
