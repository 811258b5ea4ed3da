"""Content that the cells of a grid are computed from: read before a run, and by each worker.

A cell's id is made of names and settings. The content behind the names (the weights in a folder,
the commit of a branch, the documents of a task, the statements of a contrast) may change while the
names stay. So a run records the content of each when it begins, a worker holds what it loads to
that, and a run is only resumed where its finished cells saw the present content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from steereval.common.errors import CellError, InputError
from steereval.harness.assets import model_at_hand
from steereval.harness.config.grid import ContrastSpec, Grid, JudgeSpec, ModelSpec
from steereval.harness.planning.cell import IDENTITY_VERSION, Cell
from steereval.harness.planning.model_content import COMMIT, content_at, content_of_model, kind_of
from steereval.harness.planning.plan import files_digest
from steereval.harness.planning.task_resources import TaskResources
from steereval.models.methods.registry import get_method
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.content import (
    SHOWN,
    Content,
    Parts,
    Seen,
    changed_parts,
    contrast_subject,
    digest_of,
    mismatches,
    model_subject,
    task_subject,
)
from steereval.results.store.manifest import Manifest
from steereval.tasks.catalogue.cards import categories_of
from steereval.tasks.catalogue.task_group import TaskGroup
from steereval.tasks.contrast.registry import ContrastSet
from steereval.tasks.data.document_hash import doc_hash
from steereval.tasks.judges.registry import get_judge, scorer_of

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_NO_CONTENT = ("custom_dataset", "dataset_path", "dataset_name", "dataset_kwargs", "metadata")
"""Parts of a task's definition that say where its data come from: the documents count."""


def judge_subject(judge: JudgeSpec, task: str) -> str:
    """How the content of a judge's model is called."""
    return f"judge {judge.name} of task {task}"


def content_of_task(task: Any) -> dict[str, str]:
    """{part: hash} of a loaded task: its documents, few-shot examples, categories, definition.

    Parts of a group's subtasks have the name of the subtask in front.
    """
    if isinstance(task, TaskGroup):
        return {
            f"{name}: {part}": value
            for name, member in task.members.items()
            for part, value in content_of_task(member).items()
        }
    shots = task.get_config("num_fewshot")
    definition = {k: v for k, v in task.dump_config().items() if k not in _NO_CONTENT}
    text = json.dumps(definition, sort_keys=True, default=str)
    parts = {
        "documents": _hash(doc_hash(each) for each in task.eval_docs),
        "definition": _hash([_ADDRESS.sub("", text)]),
    }
    if shots:
        parts["few-shot documents"] = _hash(doc_hash(each) for each in task.fewshot_docs())
    if categories := categories_of(task):
        parts["categories"] = _hash(f"{key}\0{value}" for key, value in categories.items())
    return parts


def content_of_contrast(contrast: ContrastSet) -> dict[str, str]:
    """{part: hash} of a contrast set."""
    return {"statements": contrast.content_hash}


def content_of_contrasts(contrasts: Mapping[ContrastSpec, ContrastSet]) -> dict[str, Parts]:
    """The content of contrast sets, by subject."""
    return {_contrast_subject(spec): content_of_contrast(c) for spec, c in contrasts.items()}


def _contrast_subject(spec: ContrastSpec) -> str:
    return contrast_subject(spec.name, spec.answers)


def content_of_judge(judge: JudgeSpec) -> dict[str, str]:
    """{part: hash} of a judge's model; empty for a service, a classifier and a stand-in."""
    scorer = scorer_of(get_judge(judge.name), judge.scorer)
    if judge.is_stand_in or not scorer.model:
        return {}
    return content_at(model_at_hand(judge.model or scorer.model), judge.revision)


def readers_of_models(grid: Grid) -> dict[str, Callable[[], dict[str, str]]]:
    """Functions that read the content of each model and judge of `grid`, by subject."""
    readers: dict[str, Callable[[], dict[str, str]]] = {
        model_subject(model.name): partial(content_of_model, model) for model in grid.models
    }
    for task in grid.tasks:
        for judge in task.judges:
            readers[judge_subject(judge, task.name)] = partial(content_of_judge, judge)
    return readers


def content_of_models(grid: Grid) -> dict[str, Parts]:
    """The content of all models and judges of `grid`. Raises InputError for one not at hand."""
    by_subject = {subject: read() for subject, read in readers_of_models(grid).items()}
    return {subject: parts for subject, parts in by_subject.items() if parts}


def _hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d\0" % len(data) + data)
    return digest.hexdigest()


@dataclass
class Witness:
    """Content that a worker has loaded, checked against that at the start of the run."""

    expected: Content | None
    """Content in the run's manifest; None: nothing is compared."""
    resources: TaskResources
    """The worker's tasks and contrast sets."""
    _models: dict[ModelSpec, str] = field(default_factory=dict)
    _others: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def loading(self, spec: ModelSpec) -> Iterator[None]:
        """Let the model of `spec` be loaded inside, and see what from. Raises CellError where that
        is not what the run began with, or changes meanwhile."""
        model = spec.without_layers()
        self._models.pop(model, None)
        before = self._held(model_subject(spec.name), content_of_model(spec))
        yield
        if self._held(model_subject(spec.name), content_of_model(spec)) != before:
            raise CellError(
                f"the {model_subject(spec.name)} changed while it was loaded",
                "Start the run again once its files are written.",
            )
        self._models[model] = before

    def of(self, cell: Cell) -> dict[str, str]:
        """{subject: hash} of all that `cell` is computed from, for its record. Raises CellError."""
        return self.task_of(cell) | self.fit_of(cell)

    def task_of(self, cell: Cell) -> dict[str, str]:
        """The same of the task alone, by which kept answers are scored. Raises CellError."""
        return {task_subject(cell.task.name): self._task(cell)}

    def is_kept_from(self, cell: Cell, seen: Mapping[str, str]) -> bool:
        """Whether answers of `cell` come from the model and the contrast set of this run.

        Args:
            cell: The cell.
            seen: {subject: hash} of what was there when it was answered.
        """
        task_part = task_subject(cell.task.name)
        expected = {subject: digest_of(parts) for subject, parts in (self.expected or {}).items()}
        return all(
            subject == task_part or expected.get(subject, digest) == digest
            for subject, digest in seen.items()
        )

    def fit_of(self, cell: Cell) -> dict[str, str]:
        """The same of the model and the contrast set alone, for a diagnosis. Raises CellError."""
        parts = {model_subject(cell.model.name): self._models[cell.model.without_layers()]}
        if cell.contrast is not None:
            parts[_contrast_subject(cell.contrast)] = self._contrast(cell.contrast)
        return parts

    def check(self, cell: Cell) -> None:
        """Raise CellError where the content that `cell` reads, without its model, has changed.

        The model is held to it when it is loaded.
        """
        self._task(cell)
        if cell.contrast is not None:
            self._contrast(cell.contrast)
        chosen = get_method(cell.method.name)
        files = chosen.files(chosen.options(cell.method.options))
        if files_digest(cell.contrast, files) != cell.files_digest:
            raise CellError(
                f"a file that {cell} reads changed since the run began",
                "Start the run again: another content is another cell.",
            )

    def _task(self, cell: Cell) -> str:
        key = repr(cell.task)
        if key not in self._others:
            parts = content_of_task(self.resources.task(cell))
            self._others[key] = self._held(task_subject(cell.task.name), parts)
        return self._others[key]

    def _contrast(self, spec: ContrastSpec) -> str:
        key = repr(spec)
        if key not in self._others:
            parts = content_of_contrast(self.resources.contrast(spec))
            self._others[key] = self._held(_contrast_subject(spec), parts)
        return self._others[key]

    def _held(self, subject: str, parts: Parts) -> str:
        held(self.expected, subject, parts)
        return digest_of(parts)


def held(content: Content | None, subject: str, parts: Parts) -> None:
    """Raise CellError where a subject's parts, as loaded, are others than in `content`."""
    expected = (content or {}).get(subject)
    if expected is not None and digest_of(expected) != digest_of(parts):
        raise CellError(
            f"the {subject} is another than when the run began: {_in_words(expected, parts)}",
            "Put the earlier content back, or begin a run in another --out.",
        )


def refuse_other_content(
    place: object,
    earlier: Manifest | None,
    seen: Mapping[str, Seen],
    ids: Iterable[str],
    content: Content,
) -> None:
    """Raise InputError where one of those with `ids` was computed from something else than
    `content`, which is there now; `earlier` is the previous manifest, which holds the parts.
    """
    mismatch = next(mismatches(ids, seen, content), None)
    if mismatch is None:
        return
    old = (earlier.content if earlier else {}).get(mismatch.subject) or {}
    known = digest_of(old) == mismatch.seen
    change = (
        _in_words(old, content[mismatch.subject])
        if known
        else f"{mismatch.seen[:SHOWN]} was, {mismatch.other[:SHOWN]} is"
    )
    raise InputError(
        f"the {mismatch.subject} changed since cells of {place} were computed: {change}",
        "Choose another --out, or put the earlier content back.",
    )


def _in_words(old: Parts, new: Parts) -> str:
    """The first part that differs, what it is, and how many more do."""
    changes = changed_parts(old, new)
    part = changes[0].partition(" (")[0]
    kind = "" if part == COMMIT else kind_of(part)
    more = "" if len(changes) == 1 else f", and {len(changes) - 1} more"
    return f"{kind} {changes[0]}{more}".lstrip()


def refuse_other_version(place: object, records: Mapping[str, CellRecord]) -> None:
    """Raise InputError where the cells that are there were computed by a version of this program
    that meant something else by its cells."""
    identities = [record.identity or {} for record in records.values() if record.is_done]
    versions = {
        int(each["version"]) for each in identities if "version" in each and "imported" not in each
    }
    if others := versions - {IDENTITY_VERSION}:
        raise InputError(
            f"the cells of {place} have identity version {max(others)}, and this program computes "
            f"version {IDENTITY_VERSION}, so they cannot be resumed",
            "Choose another --out; the folder can still be read with `steereval report`.",
        )
