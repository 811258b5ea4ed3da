"""All 817 questions of TruthfulQA, as lm-eval documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steereval.tasks.data import truthfulqa
from steereval.tasks.data.bundled import as_test_split


def rows(data_dir: Path | None) -> list[dict[str, Any]]:
    """Documents with question, category (None where the table has none) and best_answer.

    They are the questions of the multiple-choice file: the table has been revised to 790. Sources
    and errors are those of `steereval.tasks.data.truthfulqa`.
    """
    known = truthfulqa.categories(data_dir)
    questions = truthfulqa.with_categories(truthfulqa.multiple_choice_rows(data_dir), known)
    return [
        {
            "question": row["question"],
            "category": row["category"],
            "best_answer": _best(row["mc1_targets"]),
        }
        for row in questions
    ]


def splits(data_dir: Path | None) -> Any:
    """The `datasets.DatasetDict`, held in memory; split `test`."""
    return as_test_split(rows(data_dir))


def load(**_: object) -> Any:
    """`splits` for lm-eval's `custom_dataset`: from STEEREVAL_DATA or the hub."""
    return splits(None)


def _best(targets: dict[str, Any]) -> str:
    choices: list[str] = targets["choices"]
    best: int = targets["labels"].index(1)
    return choices[best]
