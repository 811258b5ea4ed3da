"""Small folders of public benchmarks, in the forms in which they are distributed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

SUBJECTS = ("abstract_algebra", "world_religions")


def chat(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def preference(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "prompt_id": str(len(prompt)),
        "chosen": chat(prompt, chosen),
        "rejected": chat(prompt, rejected),
    }


def preferences(folder: Path, split: str, rows: list[dict[str, Any]]) -> Path:
    """A split of UltraFeedback as the hub's repository holds it."""
    path = folder / "ultrafeedback" / "data" / f"{split}-00000-of-00001-abc.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def toxic_prompts(folder: Path, toxicities: dict[str, float | None]) -> Path:
    """RealToxicityPrompts' file with these prompts."""
    path = folder / "realtoxicityprompts" / "prompts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "filename": "f",
            "challenging": False,
            "prompt": {"text": text, "toxicity": toxicity},
            "continuation": {"text": "..."},
        }
        for text, toxicity in toxicities.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def mmlu(folder: Path, tested: int = 3) -> None:
    """So many test questions and one example of each of two subjects."""
    for split, count in (("test", tested), ("dev", 1)):
        rows = [
            {
                "question": f" {split} question {number} on {subject}?",
                "subject": subject,
                "choices": [f"{letter} of {number}" for letter in "wxyz"],
                "answer": number % 4,
            }
            for subject in SUBJECTS
            for number in range(count)
        ]
        path = folder / "mmlu" / "all" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)


LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")


def comments(folder: Path, labelled: dict[str, set[str]]) -> Path:
    """Jigsaw's train.csv with these comments and the labels that are 1."""
    path = folder / "jigsaw" / "train.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "comment_text", *LABELS])
        for number, (text, labels) in enumerate(labelled.items()):
            writer.writerow([f"{number:016x}", text, *(int(label in labels) for label in LABELS)])
    return path
