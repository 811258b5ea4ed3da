"""The questions of the bundled truthfulness set, as lm-eval documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steereval.tasks.data.bundled import as_test_split, read_rows

QUESTIONS = Path(__file__).with_name("truthful_mini.jsonl")
VERSION = "1"


def questions() -> tuple[dict[str, Any], ...]:
    """The questions, as dicts of texts and lists of texts.

    Fields: question, category, best_answer (the first of the correct ones), correct_answers,
    incorrect_answers, source.
    """
    return read_rows(QUESTIONS)


def document(question: dict[str, Any]) -> dict[str, Any]:
    """A question with `choices`, the correct answers before the incorrect ones, and `labels`."""
    best, others = question["best_answer"], question["correct_answers"]
    correct = [best, *(answer for answer in others if answer != best)]
    incorrect = question["incorrect_answers"]
    return {
        **question,
        "choices": [*correct, *incorrect],
        "labels": [1] * len(correct) + [0] * len(incorrect),
    }


def load(**_: object) -> Any:
    """The `datasets.DatasetDict` for lm-eval's `custom_dataset`, held in memory; split `test`."""
    return as_test_split(document(question) for question in questions())
