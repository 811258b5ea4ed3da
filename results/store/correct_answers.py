"""The correct answers of a run's items, kept for readers: RUN/correct_answers.json.

    {task: {item id: {"choices": [0, 2]} or {"texts": ["Paris"]}}}

`choices` are numbers of an item's requests. Nothing is computed from them: a run without the file,
or a task that is not in it, is reported without correct answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from steereval.common.errors import StoreError
from steereval.common.reading import parse_json
from steereval.results.store.storage import Storage

FILE: Final = "correct_answers.json"


@dataclass(frozen=True)
class Correct:
    """Correct answers to one item; empty where the task does not state them."""

    choices: tuple[int, ...] = ()
    """Numbers of the correct ones among the item's choices."""

    texts: tuple[str, ...] = ()
    """Reference answers of an item that asks for text."""


ByItem = Mapping[str, Correct]
"""{item id: what is right}."""


def write_correct_answers(place: Storage, answers: Mapping[str, ByItem]) -> None:
    """Keep the answers of all tasks in the run folder at `place`. Raises StoreError."""
    plain = {
        task: {item: _plain(correct) for item, correct in items.items()}
        for task, items in answers.items()
    }
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    place.write(FILE, text.encode("utf-8", "surrogatepass") + b"\n")


def read_correct_answers(place: Storage) -> dict[str, ByItem]:
    """{task: answers}; empty for a run that holds none. Raises StoreError for a damaged file."""
    data = place.read(FILE)
    if data is None:
        return {}
    try:
        values: dict[str, dict[str, dict[str, Any]]] = parse_json(
            data.decode("utf-8", "replace"), keep_surrogates=True
        )
        return {
            task: {item: _correct(each) for item, each in items.items()}
            for task, items in values.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{place.at(FILE)} cannot be read: {error}",
            "Delete it: the report then does without correct answers.",
        ) from error


def _plain(correct: Correct) -> dict[str, Any]:
    return {name: list(value) for name, value in vars(correct).items() if value}


def _correct(entry: Mapping[str, Any]) -> Correct:
    return Correct(
        tuple(int(number) for number in entry.get("choices", ())),
        tuple(str(text) for text in entry.get("texts", ())),
    )
