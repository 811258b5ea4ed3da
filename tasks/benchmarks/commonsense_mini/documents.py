"""The questions of the bundled everyday set, as lm-eval documents in CommonsenseQA's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steereval.tasks.data.bundled import as_test_split, read_rows

QUESTIONS = Path(__file__).with_name("commonsense_mini.jsonl")
"""The questions: question, category, choices (label and text, five each), answerKey (a label)."""


def load(**_: object) -> Any:
    """The `datasets.DatasetDict` for lm-eval's `custom_dataset`, held in memory; split `test`."""
    return as_test_split(read_rows(QUESTIONS))
