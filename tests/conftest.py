"""Tiny random-weight language models of many architectures, and the embedded real one.

Torch is imported inside the fixtures alone, so that rooms without it test without it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

VOCABULARY = 211
BLOCKS = 3
CONTEXT = 256

_LLAMA_LIKE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_SHORT_NAMES = {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}


def _llama_like(**changes: Any) -> dict[str, Any]:
    return {**_LLAMA_LIKE, **changes}


def _without(*names: str, **changes: Any) -> dict[str, Any]:
    return {k: v for k, v in _llama_like(**changes).items() if k not in names}


_GPT2_LIKE = {
    "vocab_size": VOCABULARY, "n_embd": 32, "n_layer": BLOCKS, "n_head": 4, "n_positions": CONTEXT,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64}
_MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _llama_like()),
    "mistral": ("mistral", _llama_like(sliding_window=None, head_dim=12)),
    "mistral-window": ("mistral", _llama_like(sliding_window=8)),
    "qwen2": ("qwen2", _llama_like()),
    "qwen3": ("qwen3", _llama_like(head_dim=12)),
    "gemma2": ("gemma2", _llama_like(**_GEMMA)),
    "gemma3": ("gemma3_text", _llama_like(**_GEMMA)),
    "falcon": ("falcon", _without("intermediate_size", "num_key_value_heads", alibi=False)),
    "falcon-alibi": ("falcon", _without("intermediate_size", "num_key_value_heads", alibi=True)),
    "gpt-neox": ("gpt_neox", _without("num_key_value_heads")),
    "gptj": ("gptj", {**_GPT2_LIKE, "rotary_dim": 4}),
    "gpt2": ("gpt2", _GPT2_LIKE),
    "gpt-neo": (
        "gpt_neo",
        {
            **_without("intermediate_size", "num_key_value_heads"),
            "num_layers": BLOCKS,
            "num_heads": 4,
            "attention_types": [[["global", "local", "global"], 1]],
            "window_size": 8,
        },
    ),
    "opt": ("opt", _without("num_key_value_heads", "intermediate_size", ffn_dim=48,
                            word_embed_proj_dim=32)),
    "phi": ("phi", _llama_like(num_key_value_heads=4)),
    "bloom": ("bloom", {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": BLOCKS,
                        "n_head": 4, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}),
    "mpt": ("mpt", {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": BLOCKS, "n_heads": 4,
                    "max_seq_len": CONTEXT, "expansion_ratio": 2}),
    "mixtral": ("mixtral", _llama_like(num_local_experts=4, num_experts_per_tok=2,
                                       sliding_window=None)),
    "qwen2-moe": ("qwen2_moe", _llama_like(num_experts=4, shared_expert_intermediate_size=24,
                                           **_MOE)),
    "mamba": ("mamba", {"vocab_size": VOCABULARY, "hidden_size": 32, "state_size": 4,
                        "num_hidden_layers": BLOCKS, "bos_token_id": 1, "eos_token_id": 2,
                        "pad_token_id": 0}),
    "recurrent-gemma": ("recurrent_gemma", _llama_like(lru_width=32, attention_window_size=64,
                                                       head_dim=8)),
    "rwkv": ("rwkv", {"vocab_size": VOCABULARY, "hidden_size": 32, "attention_hidden_size": 32,
                      "num_hidden_layers": BLOCKS, "context_length": CONTEXT}),
    "jamba": ("jamba", _llama_like(num_experts=1, attn_layer_period=2, attn_layer_offset=1,
                                   use_mamba_kernels=False, mamba_d_state=4)),
    "lfm2": ("lfm2", _llama_like(layer_types=["conv","full_attention","conv"])),
    "qwen3-next": ("qwen3_next", _llama_like(layer_types=["linear_attention","full_attention","linear_attention"], head_dim=8, num_experts=4, linear_num_value_heads=2,linear_num_key_heads=2,linear_key_head_dim=8,linear_value_head_dim=8,**_MOE)),
    "phi3": ("phi3", _llama_like()),
    "olmo2": ("olmo2", _llama_like()),
    "llama4": ("llama4_text", _llama_like(attention_chunk_size=8, head_dim=8, intermediate_size_mlp=48, num_local_experts=2)),
    "deepseek": ("deepseek_v2", _llama_like(kv_lora_rank=8,q_lora_rank=8,qk_nope_head_dim=8,qk_rope_head_dim=4,v_head_dim=8,n_routed_experts=4, num_key_value_heads=4, first_k_dense_replace=1, n_group=1, topk_group=1, **_MOE)),
    "gpt-oss": ("gpt_oss", _llama_like(num_local_experts=4, num_experts_per_tok=2, head_dim=8, sliding_window=8)),
    "smollm3": ("smollm3", _llama_like()),
    "cohere2": ("cohere2", _llama_like(sliding_window=8)),
    "glm4": ("glm4", _llama_like(head_dim=8)),
    "gpt-bigcode": ("gpt_bigcode", _GPT2_LIKE),
    "codegen": ("codegen", {**_GPT2_LIKE, "rotary_dim": 4}),
    "xglm": ("xglm", {"vocab_size": VOCABULARY,"d_model":32,"ffn_dim":48,"num_layers":BLOCKS,"attention_heads":4}),
    "modernbert-decoder": ("modernbert-decoder", _llama_like(local_attention=16)),
}


@cache
def _tiny(architecture: str) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, settings = ARCHITECTURES[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **settings)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim >= 2:
                    parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
                else:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model
