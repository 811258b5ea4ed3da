"""TruthfulQA as lm-eval's tasks read it, from a folder of files or from the hub.

Lin, Hilton and Evans 2022. The multiple-choice file holds the original 817 questions; the table
of the generation task, which alone carries categories, may be its revision of 790 questions. So
categories are joined by question, and the questions that the table lacks have none.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from steereval.common.errors import TaskError
from steereval.common.reading import parse_json
from steereval.tasks.data.hub import load_from_hub
from steereval.tasks.data.keys import question_key
from steereval.tasks.data.local_files import data_folder

HUB_PATH = "truthfulqa/truthful_qa"
CHOICE_FILE = "mc_task.json"
TABLE_FILE = "TruthfulQA.csv"
REMEDY = (
    f"Give the folder that holds truthfulqa/{CHOICE_FILE} and truthfulqa/{TABLE_FILE} with "
    "--data-dir or STEEREVAL_DATA, or make the hub reachable."
)
TABLE_COLUMNS = frozenset(
    {"Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"}
)


def multiple_choice_rows(data_dir: Path | None) -> list[dict[str, Any]]:
    """The documents of the multiple-choice task: question, mc1_targets and mc2_targets.

    Targets are {"choices": [text], "labels": [1 or 0]}, in the file's order, as on the hub.
    `data_dir` is the folder that holds truthfulqa/, or that folder; None: STEEREVAL_DATA, if set.
    Raises TaskError when neither folder nor hub has the data, or it is damaged.
    """
    path = _find(CHOICE_FILE, data_dir)
    if path is None:
        return _hub_rows("multiple_choice", data_dir)
    try:
        rows = parse_json(path.read_text(encoding="utf-8"))
        return [_choice_row(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def generation_rows(data_dir: Path | None) -> list[dict[str, Any]]:
    """The documents of the generation task, with the hub's fields.

    They are type, category, question, best_answer, correct_answers, incorrect_answers, source.
    Sources and errors are as for `multiple_choice_rows`.
    """
    path = _find(TABLE_FILE, data_dir)
    if path is None:
        return _hub_rows("generation", data_dir)
    try:
        return [_table_row(row) for row in _read_table(path)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def categories(data_dir: Path | None) -> dict[str, str]:
    """The category of each question of the generation table, by question key."""
    return {question_key(row["question"]): row["category"] for row in generation_rows(data_dir)}


def with_categories(rows: list[dict[str, Any]], known: Mapping[str, str]) -> list[dict[str, Any]]:
    """The documents with the field `category` added at their end: None where it is not known."""
    return [{**row, "category": known.get(question_key(row["question"]))} for row in rows]


def _find(file_name: str, data_dir: Path | None) -> Path | None:
    folder = data_folder(data_dir)
    if folder is None:
        return None
    candidates = (folder / "truthfulqa" / file_name, folder / file_name)
    return next((path for path in candidates if path.is_file()), None)


def _hub_rows(configuration: str, data_dir: Path | None) -> list[dict[str, Any]]:
    folder = data_folder(data_dir)
    looked = f"{folder} holds no TruthfulQA files. " if folder else ""
    splits = load_from_hub(HUB_PATH, configuration, looked + REMEDY)
    return cast("list[dict[str, Any]]", splits["validation"].to_list())


def _choice_row(row: Mapping[str, Any]) -> dict[str, Any]:
    targets = {name: _targets(row[name]) for name in ("mc1_targets", "mc2_targets")}
    return {"question": row["question"], **targets}


def _targets(answers: Mapping[str, int]) -> dict[str, Any]:
    return {"choices": list(answers), "labels": list(answers.values())}


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if lacking := TABLE_COLUMNS - set(reader.fieldnames or ()):
            raise ValueError(f"the column {min(lacking)!r} is missing")
        return list(reader)


def _table_row(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": row["Type"],
        "category": row["Category"],
        "question": row["Question"],
        "best_answer": row["Best Answer"],
        "correct_answers": _answers(row["Correct Answers"]),
        "incorrect_answers": _answers(row["Incorrect Answers"]),
        "source": row.get("Source", ""),
    }


def _answers(cell: str) -> list[str]:
    return [answer.strip() for answer in cell.split(";") if answer.strip()]


def _damaged(path: Path, error: Exception) -> TaskError:
    return TaskError(f"{path} is not the TruthfulQA file that it should be: {error}", REMEDY)
