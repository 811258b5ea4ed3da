"""Content behind the cells of a run: hashes of models, tasks and contrast sets.

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

from steereval.common.errors import StoreError
from steereval.results.store.cell_record import CellKey, CellRecord
from steereval.results.store.diagnosis import diagnosed, record_of
from steereval.results.store.manifest import Manifest
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import Storage

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


def content_of_cell(manifest: Manifest, cell: CellKey, known: Collection[str]) -> dict[str, Parts]:
    """Content that a planned cell is computed from, of the subjects in `known`: its model,
    its task, and, if it is steered, the contrast sets."""
    content = manifest.content
    subjects = {model_subject(cell.model), task_subject(cell.task)}
    if cell.layer:
        subjects |= {subject for subject in content if subject.startswith(_CONTRAST)}
    return {s: parts for s, parts in content.items() if s in subjects and s in known}


@dataclass(frozen=True)
class Mismatch:
    """A subject of which a cell saw something else than it is, or was, elsewhere."""

    where: str
    """The cell in words, or a diagnosis by its name."""
    subject: str
    """The subject that differs, such as `model smollm2-135m`."""
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


@dataclass(frozen=True)
class Seen:
    """The recorded content of a cell or a diagnosis."""

    where: str
    """The cell in words, or a diagnosis by its name."""
    digests: Mapping[str, str]
    """{subject: one hash of all of its parts}; empty where no content was recorded."""


def seen_by_cells(records: Mapping[str, CellRecord]) -> dict[str, Seen]:
    """The recorded content of the finished cells, by id."""
    return {
        cell_id: Seen(record.name or cell_id, record.content)
        for cell_id, record in records.items()
        if record.is_done
    }


def seen_by_diagnoses(place: Storage, names: Iterable[str]) -> dict[str, Seen]:
    """The recorded content of diagnoses, by name. Raises StoreError."""
    return {name: Seen(name, record_of(place, name).content) for name in names}


def mismatches(
    ids: Iterable[str], seen: Mapping[str, Seen], content: Content
) -> Iterator[Mismatch]:
    """Where those with `ids` saw other hashes than those of `content`, in the order of the ids."""
    digests = {subject: digest_of(parts) for subject, parts in content.items()}
    for each in sorted(seen.keys() & set(ids)):
        for subject, digest in seen[each].digests.items():
            if digests.get(subject, digest) != digest:
                yield Mismatch(seen[each].where, subject, digest, digests[subject])


def check_content(run: RunFolder, manifest: Manifest, records: Mapping[str, CellRecord]) -> None:
    """Raise StoreError if a planned cell, or a diagnosis, was computed from something else than the
    manifest says. What reads a run's rows calls this first.
    """
    for disagreement in disagreements(run, manifest, records):
        raise StoreError(f"{disagreement.where}: {disagreement}", "Put the run's own files back.")


def disagreements(
    run: RunFolder, manifest: Manifest, records: Mapping[str, CellRecord]
) -> Iterator[Mismatch]:
    """Where cells and diagnoses of a run hold other hashes than its manifest."""
    content = manifest.content
    yield from mismatches(manifest.members, seen_by_cells(records), content)
    names = diagnosed(run.place) if content else set()
    yield from mismatches(names, seen_by_diagnoses(run.place, names), content)


def changed_parts(old: Parts, new: Parts) -> list[str]:
    """In words, which parts differ: `NAME (1a2b3c was, 4d5e6f is)`, `NAME (new)`, `NAME (gone)`."""
    changes = []
    for part in sorted(old.keys() | new.keys()):
        before, now = old.get(part), new.get(part)
        if before == now:
            continue
        if before is None or now is None:
            changes.append(f"{part} ({'new' if before is None else 'gone'})")
        else:
            changes.append(f"{part} ({before[:SHOWN]} was, {now[:SHOWN]} is)")
    return changes
