"""Make vector.safetensors with Transformers alone: a difference of mean activations.

python make_vector.py MODEL_FOLDER LAYER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def mean_states(folder: str, texts: list[str], layer: int) -> torch.Tensor:
    """The mean output [d] of a 0-based block at the last token of each text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    states = []
    for text in texts:
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        # hidden_states[0] is the embedding, so that of a block comes one later.
        states.append(output.hidden_states[layer + 1][0, -1])
    return torch.stack(states).mean(dim=0)


def main(folder: str, layer: int) -> None:
    """Write the vector that leads from rude to polite answers."""
    here = Path(__file__).parent
    lines = (here / "contrast.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    polite, rude = (
        mean_states(folder, [f"{row['question']} {row[kind]}" for row in rows], layer)
        for kind in ("positive", "negative")
    )
    save_file({f"layer.{layer}": polite - rude}, here / "vector.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
