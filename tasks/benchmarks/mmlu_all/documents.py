"""The questions of MMLU (Hendrycks et al. 2021) of all subjects, as lm-eval documents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from steereval.tasks.data.public_data import PublicData, Row, documents

DATA = PublicData(
    folder="mmlu",
    hub="cais/mmlu",
    files={
        split: (f"all/{split}-*.parquet", f"{split}.parquet", f"{split}.jsonl")
        for split in ("test", "dev")
    },
)


def rows(split: str, data_dir: Path | None) -> list[dict[str, Any]]:
    """Documents with question, subject, choices (four texts) and answer (their index from 0).

    They are in the order of their SHA-256, so that the first n are a fair sample of all subjects.
    Raises TaskError when neither `data_dir` nor the hub has them, or they are damaged.
    """
    return sorted(documents(DATA, DATA.rows(split, data_dir), _document), key=_digest)


def splits(data_dir: Path | None) -> Any:
    """The `datasets.DatasetDict`, held in memory; splits `test` and `dev` (few-shot examples)."""
    import datasets

    return datasets.DatasetDict(
        {split: datasets.Dataset.from_list(rows(split, data_dir)) for split in DATA.files}
    )


def load(**_: object) -> Any:
    """`splits` for lm-eval's `custom_dataset`: from STEEREVAL_DATA or the hub."""
    return splits(None)


def _digest(document: Row) -> bytes:
    return hashlib.sha256(json.dumps(document, ensure_ascii=False).encode()).digest()


def _document(row: Row) -> Row:
    choices = list(row["choices"])
    if len(choices) != 4 or row["answer"] not in range(4):
        raise ValueError(f"the question {row['question']!r} has not one of four answers")
    return {
        "question": row["question"],
        "subject": row["subject"],
        "choices": choices,
        "answer": row["answer"],
    }
