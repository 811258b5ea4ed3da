"""The questions of the bundled knowledge set, as lm-eval documents in MMLU's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steereval.tasks.data.bundled import as_test_split, read_rows

QUESTIONS = Path(__file__).with_name("mmlu_mini.jsonl")
"""The questions: question, subject, choices (four texts), answer (the number of the right one)."""


def load(**_: object) -> Any:
    """The `datasets.DatasetDict` for lm-eval's `custom_dataset`, held in memory; split `test`."""
    return as_test_split(read_rows(QUESTIONS))
