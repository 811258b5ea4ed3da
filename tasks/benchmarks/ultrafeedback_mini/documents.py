"""The pairs of the bundled preference set, as lm-eval documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steereval.tasks.data.bundled import as_test_split, read_rows

PAIRS = Path(__file__).with_name("ultrafeedback_mini.jsonl")
VERSION = "1"


def pairs() -> tuple[dict[str, str], ...]:
    """The pairs, as dicts of texts: prompt, chosen, rejected, category, flaw (of the rejected)."""
    return read_rows(PAIRS)


def document(pair: dict[str, str]) -> dict[str, Any]:
    """A pair with the prompt as `question` too, and `choices`, the chosen answer first.

    By its `question` a document's fold in the contrast set of the same pairs is found.
    """
    return {**pair, "question": pair["prompt"], "choices": [pair["chosen"], pair["rejected"]]}


def load(**_: object) -> Any:
    """The `datasets.DatasetDict` for lm-eval's `custom_dataset`, held in memory; split `test`."""
    return as_test_split(document(pair) for pair in pairs())
