"""Sets written for this project: JSON Lines beside their task files, made lm-eval documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonlines


def read_rows(path: Path) -> tuple[dict[str, Any], ...]:
    """The JSON objects of a file, one a line."""
    with jsonlines.open(path) as lines:
        return tuple(lines.iter(type=dict))


def as_test_split(documents: Iterable[Mapping[str, Any]]) -> Any:
    """The `datasets.DatasetDict` for lm-eval's `custom_dataset`, held in memory; split `test`."""
    import datasets

    rows = [dict(document) for document in documents]
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
