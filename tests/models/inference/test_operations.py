"""Operations and tokens, counted as the model computes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from steereval.common.activity import begin_work, current
from steereval.models.inference.operations import count_operations


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_counts_are_two_operations_a_weight_and_token(kind: str) -> None:
    config = AutoConfig.for_model(
        kind, vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, n_embd=16, n_layer=2, n_head=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    head = model.get_output_embeddings()
    blocks = getattr(model.base_model, "layers", None) or model.base_model.h
    weights = sum(p.numel() for block in blocks for p in block.parameters())
    weights += sum(p.numel() for p in head.parameters())
    count_operations(model)
    begin_work()
    with torch.no_grad():
        model(torch.ones(3, 5, dtype=torch.long))
    assert current().tokens == 15
    assert current().operations == pytest.approx(2.0 * weights * 15)


def test_cached_steps_count_their_new_tokens_alone() -> None:
    config = AutoConfig.for_model(
        "llama", vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    count_operations(model)
    begin_work()
    model.generate(torch.ones(2, 4, dtype=torch.long), max_new_tokens=3, do_sample=False,
                   eos_token_id=None)  # fmt: skip
    # The last token is never fed.
    assert current().tokens == 2 * (4 + 2)
