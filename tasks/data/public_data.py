"""Public data sets as they are distributed: from a folder of files, or from the hub.

A folder holds the files under the names that they have on the hub (or where they come from), so a
copy of the hub's repository will do.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonlines

from steereval.common.errors import TaskError
from steereval.common.text import first_line
from steereval.tasks.data.hub import load_files_from_hub
from steereval.tasks.data.local_files import data_folder

Row = dict[str, Any]


@dataclass(frozen=True)
class PublicData:
    """A data set, and where its splits lie."""

    folder: str
    """Name of its folder in the data folder."""
    hub: str
    """Name on the hub."""
    files: Mapping[str, tuple[str, ...]]
    """Patterns of the files of each split, relative to the folder: the first as on the hub."""

    def rows(self, split: str, data_dir: Path | None) -> list[Row]:
        """All rows of a split in their order, from `data_dir` (else STEEREVAL_DATA, else the hub).

        `data_dir` is the folder that holds `folder`, or that folder itself.
        Raises TaskError when neither has them, or a file is damaged.
        """
        within = data_folder(data_dir)
        paths = None if within is None else self._find(within, split)
        if paths is not None:
            return [row for path in paths for row in _read(path)]
        looked = f"{within} holds no {self._wanted(split)}. " if within else ""
        return load_files_from_hub(self.hub, self.files[split][0], looked + self.remedy(split))

    def remedy(self, split: str) -> str:
        """The remedy for a missing split."""
        return (
            f"Give the folder that holds {self._wanted(split)} with --data-dir or STEEREVAL_DATA, "
            "or make the hub reachable."
        )

    def _wanted(self, split: str) -> str:
        return " or ".join(f"{self.folder}/{pattern}" for pattern in self.files[split])

    def _find(self, within: Path, split: str) -> list[Path] | None:
        """The files of the first pattern that matches any."""
        for folder in (within / self.folder, within):
            for pattern in self.files[split]:
                if paths := sorted(folder.glob(pattern)):
                    return paths
        return None


def documents(
    data: PublicData, rows: Iterable[Row], made: Callable[[Row], Row | None]
) -> list[Row]:
    """Results of `made` for each row, without those that are None.

    Raises TaskError, naming the data set, for a row that lacks what it should have.
    """
    try:
        return [each for row in rows if (each := made(row)) is not None]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise TaskError(
            f"the data set {data.hub} is not what it should be: {type(error).__name__} {error}",
            f"Give the files of {data.folder} as they are distributed.",
        ) from error


def by_hash(rows: Iterable[Row], field: str) -> list[Row]:
    """Rows in the order of the SHA-256 of their text `field`, each text once (its first row).

    The first n are a fair sample, the same in whichever order and from wherever the rows come.
    """
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row[field], row)
    return [first[text] for text in sorted(first, key=_digest)]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _read(path: Path) -> list[Row]:
    """The rows of a .jsonl, .csv or .parquet file."""
    try:
        return _READERS[path.suffix](path)
    except (OSError, ValueError, KeyError) as error:
        raise TaskError(
            f"{path} cannot be read: {first_line(error)}",
            "Put the file there again as it is distributed.",
        ) from error


def _jsonl(path: Path) -> list[Row]:
    with jsonlines.open(path) as lines:
        return list(lines.iter(type=dict, skip_empty=True))


def _csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _parquet(path: Path) -> list[Row]:
    import pyarrow.parquet

    rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
