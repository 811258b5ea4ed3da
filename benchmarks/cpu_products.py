"""Linear layers by oneDNN and a growing key-value cache, compared with Transformers on a CPU.

    python benchmarks/cpu_products.py
    python benchmarks/cpu_products.py --threads 1 --rows 1 64

Steps of SmolLM2-135M in float32, a token for each row after a prompt, both sides by turns; the
ratio is the median over pairs. The exit status is 1 if their logits differ by more than rounding.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from steereval.harness.assets import fetch
from steereval.models.inference.growing_cache import growing_cache
from steereval.models.inference.onednn_linear import use_onednn

PROMPT, PAIRS, WARM = 24, 12, 2
TOLERANCE = 1e-2
"""Largest difference of logits, which reach 30, after some steps in float32."""


def main() -> int:
    """Print a line for each number of rows; 1 if results differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    folder = fetch("smollm2-135m", partial(print, file=sys.stderr))
    usual = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with_onednn = copy.deepcopy(usual)
    if not use_onednn(with_onednn):
        print("this PyTorch has no oneDNN, or the memory is too small")
        return 1
    good = True
    for threads in given.threads:
        torch.set_num_threads(threads)
        for rows in given.rows:
            good &= compare(usual, with_onednn, rows, threads)
    return 0 if good else 1


def compare(usual: Any, with_onednn: Any, rows: int, threads: int) -> bool:
    """Time steps of `rows` rows on three sides: nothing changed, the products, the cache too."""
    torch.manual_seed(0)
    ids = torch.randint(10, 40_000, (rows, PROMPT))
    sides = {
        "PyTorch": (usual, DynamicCache(config=usual.config)),
        "oneDNN": (with_onednn, DynamicCache(config=with_onednn.config)),
        "and a cache with room": (with_onednn, growing_cache(with_onednn)),
    }
    for model, cache in sides.values():
        step(model, cache, ids)
    times: dict[str, list[float]] = {name: [] for name in sides}
    gap = 0.0
    for number in range(WARM + PAIRS):
        logits = {}
        for name, (model, cache) in sides.items():
            start = time.perf_counter()
            logits[name] = step(model, cache, ids[:, :1])
            if number >= WARM:
                times[name].append(time.perf_counter() - start)
        gap = max(gap, *(float((each - logits["PyTorch"]).abs().max()) for each in logits.values()))
    base = times.pop("PyTorch")
    ratios = {
        name: statistics.median(b / a for a, b in zip(own_times, base, strict=True))
        for name, own_times in times.items()
    }
    speeds = ", ".join(f"{name} {ratio:.2f} times as fast" for name, ratio in ratios.items())
    print(f"{threads} threads, {rows:3} rows: {speeds}; logits differ by {gap:.1e}", flush=True)
    return gap <= TOLERANCE


def step(model: Any, cache: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits [rows, vocabulary] after `ids` [rows, new], which go into `cache`."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, past_key_values=cache, logits_to_keep=1).logits
    return logits[:, -1]


if __name__ == "__main__":
    sys.exit(main())
