"""A byte-level tokenizer of a small vocabulary, made from the bundled questions.

With the real model's 49 152 words, a tiny model would spend nearly all its time and memory on
logits; and its tokenizer would have to be downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUESTIONS = Path(__file__).parents[2] / "tasks/benchmarks/truthful_mini/truthful_mini.jsonl"
VOCABULARY = 1024
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATS = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are here to help<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def small_tokenizer() -> Any:
    """A tokenizer for transformers: BPE on bytes, ids 0 to 2 as in SmolLM2, ChatML."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer, trained.decoder = bytes_of, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=bytes_of.alphabet(),
        show_progress=False,
    )
    rows = map(json.loads, QUESTIONS.read_text(encoding="utf-8").splitlines())
    trained.train_from_iterator(
        (f"Q: {row['question']}\nA: {row['best_answer']}" for row in rows), trainer
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[2],
        unk_token=SPECIAL[0],
    )
    tokenizer.chat_template = CHATS
    return tokenizer
