"""What the cells of a run were computed from: hashes of models, tasks and contrast sets.

The manifest holds under `content` for each subject, such as `model smollm2-135m`, the hash of each
of its parts, such as `model.safetensors`. A cell's record holds under `content` one hash of all
parts of each subject, as the worker found them that computed it. Cells and manifest agree, or the
run mixes what was computed from different things.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steereval.common.errors import StoreError
from steereval.results.store.diagnosis import diagnosed, record_of
from steereval.results.store.manifest import planned_cells
from steereval.results.store.run_folder import FAILED, RunFolder

Parts = Mapping[str, str]
"""{part of a subject: its hash}."""
Content = Mapping[str, Parts]
"""{subject: its parts}."""
SHOWN = 12
"""Digits of a hash in a message."""
_CONTRAST = "contrast "


def model_subject(name: str) -> str:
    """How the content of a model, as the grid names it, is called."""
    return f"model {name}"


def task_subject(name: str) -> str:
    """How the content of a task is called."""
    return f"task {name}"


def contrast_subject(name: str, answers: str) -> str:
    """How the content of a contrast set is called, of which `answers` are taken."""
    return f"{_CONTRAST}{name}" + ("" if answers == "all" else f" ({answers})")


def content_of_cell(
    manifest: Mapping[str, Any], cell: Mapping[str, Any], known: Collection[str]
) -> dict[str, Parts]:
    """What a planned cell is computed from by its manifest, of the subjects in `known`: its model,
    its task, and, if it is steered, the contrast sets."""
    content: Content = manifest.get("content") or {}
    own = {model_subject(cell["model"]), task_subject(cell["task"])}
    if cell["layer"]:
        own |= {subject for subject in content if subject.startswith(_CONTRAST)}
    return {s: parts for s, parts in content.items() if s in own and s in known}


@dataclass(frozen=True)
class Mismatch:
    """A subject of which a cell saw something else than it is, or was, elsewhere."""

    where: str
    """The cell in words, or a diagnosis by its name."""
    subject: str
    """What differs, such as `model smollm2-135m`."""
    seen: str
    """The hash in the cell's record."""
    other: str
    """The hash elsewhere."""

    def __str__(self) -> str:
        """In words, for a record that is held to its manifest."""
        return (
            f"it was computed from another content of the {self.subject} ({self.seen[:SHOWN]}) "
            f"than the manifest names ({self.other[:SHOWN]})"
        )


def digest_of(parts: Parts) -> str:
    """One hash of all parts of a subject, in hexadecimal: what a cell's record holds of it."""
    text = json.dumps(dict(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def mismatches(
    ids: Iterable[str], records: Mapping[str, Mapping[str, Any]], content: Content
) -> Iterator[Mismatch]:
    """Where the records with `ids` hold other hashes than `content`, in the order of the ids.

    Failed cells, and those of versions that recorded no content, have nothing to compare.
    """
    digests = {subject: digest_of(parts) for subject, parts in content.items()}
    for cell_id in sorted(records.keys() & set(ids)):
        record = records[cell_id]
        if record.get("status") == FAILED:
            continue
        for subject, seen in (record.get("content") or {}).items():
            if digests.get(subject, seen) != seen:
                where = str(record.get("name", cell_id))
                yield Mismatch(where, subject, seen, digests[subject])


def check_content(
    run: RunFolder, manifest: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise StoreError if a planned cell, or a diagnosis, was computed from something else than the
    manifest says. What reads a run's rows calls this first.
    """
    for found in disagreements(run, manifest, records):
        raise StoreError(f"{found.where}: {found}", "Put the run's own files back.")


def disagreements(
    run: RunFolder, manifest: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]
) -> Iterator[Mismatch]:
    """Where cells and diagnoses of a run hold other hashes than its manifest."""
    content = manifest.get("content") or {}
    yield from mismatches(planned_cells(manifest), records, content)
    names = diagnosed(run.place) if content else set()
    yield from mismatches(names, {name: record_of(run.place, name) for name in names}, content)


def changed_parts(old: Parts, new: Parts) -> list[str]:
    """In words, which parts differ: `NAME (1a2b3c was, 4d5e6f is)`, `NAME (new)`, `NAME (gone)`."""
    found = []
    for part in sorted(old.keys() | new.keys()):
        before, now = old.get(part), new.get(part)
        if before == now:
            continue
        if before is None or now is None:
            found.append(f"{part} ({'new' if before is None else 'gone'})")
        else:
            found.append(f"{part} ({before[:SHOWN]} was, {now[:SHOWN]} is)")
    return found
