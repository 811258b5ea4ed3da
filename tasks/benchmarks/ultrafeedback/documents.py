"""Prompts and preference pairs of UltraFeedback (Cui et al. 2023), binarised by Hugging Face H4.

A row has prompt, chosen and rejected; the latter two are chats whose last message is the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steereval.tasks.data.bundled import as_test_split
from steereval.tasks.data.keys import question_key
from steereval.tasks.data.public_data import PublicData, Row, by_hash, documents

DATA = PublicData(
    folder="ultrafeedback",
    hub="HuggingFaceH4/ultrafeedback_binarized",
    files={
        "test_prefs": ("data/test_prefs-*.parquet", "test_prefs.parquet", "test_prefs.jsonl"),
        "train_prefs": ("data/train_prefs-*.parquet", "train_prefs.parquet", "train_prefs.jsonl"),
    },
)
PROMPTS = 500
"""How many prompts of the test split are answered."""
PAIRS = 10_000
"""How many pairs of the training split steerers are fitted to."""


def prompts(data_dir: Path | None) -> list[dict[str, str]]:
    """The first PROMPTS prompts of the test split by their hash, as {"question": prompt}.

    Raises TaskError when neither `data_dir` nor the hub has them, or they are damaged.
    """
    rows = documents(DATA, DATA.rows("test_prefs", data_dir), _question)
    return by_hash(rows, "question")[:PROMPTS]


def pairs(data_dir: Path | None) -> list[dict[str, str]]:
    """The first PAIRS pairs of the training split by their prompt's hash.

    They are {"question", "chosen", "rejected"}.
    A pair of equal or empty answers is left out, and so is one whose prompt is answered in the
    task. Raises what `prompts` raises.
    """
    tested = {question_key(row["question"]) for row in prompts(data_dir)}
    rows = by_hash(documents(DATA, DATA.rows("train_prefs", data_dir), _pair), "question")
    return list(_first(rows, tested))


def splits(data_dir: Path | None) -> Any:
    """The `datasets.DatasetDict`, held in memory; split `test`."""
    return as_test_split(prompts(data_dir))


def load(**_: object) -> Any:
    """`splits` for lm-eval's `custom_dataset`: from STEEREVAL_DATA or the hub."""
    return splits(None)


def _first(rows: list[dict[str, str]], tested: set[str]) -> Iterator[dict[str, str]]:
    untested = (pair for pair in rows if question_key(pair["question"]) not in tested)
    for _, pair in zip(range(PAIRS), untested, strict=False):
        yield pair


def _question(row: Row) -> Row | None:
    return {"question": row["prompt"].strip()} if row["prompt"].strip() else None


def _pair(row: Row) -> Row | None:
    chosen, rejected = (_answer(row[name]) for name in ("chosen", "rejected"))
    question = row["prompt"].strip()
    if not (question and chosen and rejected) or chosen == rejected:
        return None
    return {"question": question, "chosen": chosen, "rejected": rejected}


def _answer(chat: list[dict[str, str]]) -> str:
    return chat[-1]["content"].strip()
