"""lm-eval's own samples as an arm of a run, paired item by item with what the run measured.

The manifest keeps imported cells apart under `imported`, where a resumed run leaves them:

    {"baseline": null or the label of an imported arm, "cells": [as in the manifest's cells]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from steereval.common.errors import InputError, StoreError, nearest_remedy
from steereval.results.lm_eval.known_items import KnownItems, known_items
from steereval.results.lm_eval.sample_files import SampleFile, joined_by_group
from steereval.results.lm_eval.samples import (
    item_ids,
    response_rows,
    scores_of,
    without_direction,
    without_numbers,
)
from steereval.results.store.cell_record import CellFacts, CellKey, ImportSource
from steereval.results.store.identity import id_of
from steereval.results.store.lease import driving
from steereval.results.store.manifest import ImportedArms, Manifest, Plan, parse_plan
from steereval.results.store.retired import at_hand, replan, retired
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA

IDENTITY_VERSION = 1
"""Counts changes to what the identity of an imported cell holds."""


@dataclass(frozen=True)
class NewArm:
    """How samples are to stand in a run."""

    label: str
    """The arm's name, as a method's."""
    model: str
    """The run's model that gave them."""
    sample_seed: int | None = None
    """The run's sample seed that they pair with; None where the run has one."""
    fewshot_seed: int | None = None
    """Likewise for few-shot examples."""
    is_baseline: bool | None = None
    """Whether the others are compared with it; None leaves the baseline as it is."""


@dataclass(frozen=True)
class Imported:
    """The outcome of importing one file."""

    task: str
    """Its task."""
    n_items: int
    """Documents that the run scored too."""
    n_foreign: int
    """Documents that the run did not score; they are left out."""
    n_lacking: int
    """Documents of the run that the file lacks."""
    n_other_prompts: int
    """Documents with other prompts in the run."""
    undirected: tuple[str, ...]
    """Metrics that are left out, since nothing says whether higher is better."""
    unnumbered: tuple[str, ...]
    """Metrics with a value that is not a number for some document, which is left out there."""
    is_new: bool
    """Whether it was not there before."""

    def lines(self, label: str) -> Iterator[str]:
        """Lines about the import for the user."""
        there = "" if self.is_new else " (were there already)"
        yield f"{label}: {_items(self.n_items)} of {self.task} pair with the run's{there}"
        if self.n_foreign:
            yield f"  {_items(self.n_foreign)} left out, which the run did not score"
        if self.n_lacking:
            yield (
                f"  {_items(self.n_lacking)} of the run lacking, which are dropped from every arm "
                "of its tables"
            )
        if self.n_other_prompts:
            yield (
                f"  {_items(self.n_other_prompts)} with other prompts than in the run: "
                "compare few-shot examples and chat templates"
            )
        if self.undirected:
            yield (f"  without {', '.join(self.undirected)}: nothing says whether higher is better")
        if self.unnumbered:
            yield (
                f"  without {', '.join(self.unnumbered)} of documents whose value is not a number"
            )


def import_samples(run: RunFolder, files: Sequence[SampleFile], arm: NewArm) -> list[Imported]:
    """Store each of `files` as a cell of `run`; the same file again changes nothing.

    The items' clusters and splits are those of the run. Nothing is written unless all files can be
    imported, and what fails leaves the folder as it was. Raises StoreError while the run is being
    run, for rows that no analysis could use, or where the folder cannot be written to; CellError
    for a score that is NaN; and InputError for a label, model, task or seed that does not fit it,
    for documents that have nothing in common with it, and for other samples under the same label.
    """
    run.read_manifest()  # which says so if this is no run
    with driving(run.place):
        return _imported(run, files, arm)


def _imported(run: RunFolder, files: Sequence[SampleFile], arm: NewArm) -> list[Imported]:
    manifest = run.read_manifest()
    plan = parse_plan(manifest)
    _check_arm(plan, arm)
    groups = {name: task.subtasks for name, task in plan.tasks.items() if task.subtasks}
    files = joined_by_group(files, groups)
    drafts = {(draft := _draft(run, plan, file, arm)).cell_id: draft for file in files}
    before = manifest.imported.cells if manifest.imported else []
    cells = {cell.cell_id: cell for cell in before} | {i: d.cell for i, d in drafts.items()}
    _check_settings(list(cells.values()))
    imported = ImportedArms(baseline=_baseline(manifest, arm), cells=list(cells.values()))
    known = at_hand(run, drafts).finished
    fresh = [draft for draft in drafts.values() if draft.cell_id not in known]
    _add(run, fresh, manifest.model_copy(update={"imported": imported}))
    return [
        _stored(run, draft) if draft.cell_id in known else draft.imported
        for draft in drafts.values()
    ]


def _add(run: RunFolder, drafts: Sequence[_Draft], manifest: Manifest) -> None:
    """Store new cells, and write the manifest that has them.

    They wait among the retired cells until the manifest stands: a kill at any moment leaves a run
    without them, or one that has them. What fails leaves the folder as it was.
    """
    apart = retired(run)
    try:
        if drafts:
            apart.create()
        for draft in drafts:
            apart.write_cell(draft.cell_id, draft.items, draft.responses, draft.facts)
        replan(run, manifest)
    except BaseException:
        with suppress(StoreError):
            members = run.members() or frozenset()
            for draft in drafts:
                if draft.cell_id not in members:
                    apart.discard(draft.cell_id)
        raise


def carry_imports(before: Manifest | None, now: Manifest) -> tuple[Manifest, tuple[str, ...]]:
    """Take the imported cells of a run into the manifest of its next start.

    An imported cell has the splits and clusters of the run's own cells on its model, task and
    few-shot seed. Where none of these is left as it was (another limit, another share for
    validation, a task less) it pairs with nothing and is left out; it can be imported again.

    Args:
        before: The manifest so far; None if the run begins.
        now: The manifest of the grid alone.

    Returns:
        `now` with the imported cells that still pair, and the labels of arms that lost a cell.

    Raises:
        InputError: If a method of the grid has the label of an imported arm.
    """
    if before is None or before.imported is None:
        return now, ()
    imported = before.imported
    known = {cell.cell_id for cell in before.cells}
    same = {_pairing(cell) for cell in now.cells if cell.cell_id in known}
    cells = [cell for cell in imported.cells if _pairing(cell) in same]
    labels = {cell.method for cell in cells}
    if both := sorted(labels & now.methods.keys()):
        raise InputError(
            f"{both[0]!r} is a method of the grid and an arm that was imported into the run",
            "Give the method another `label`.",
        )
    baseline = imported.baseline if imported.baseline in labels else None
    lost = {cell.method for cell in imported.cells if _pairing(cell) not in same}
    arms = ImportedArms(baseline=baseline, cells=cells)
    return now.model_copy(update={"imported": arms}), tuple(sorted(lost))


def _pairing(cell: CellKey) -> tuple[str, str, int]:
    return cell.model, cell.task, cell.fewshot_seed


@dataclass(frozen=True)
class _Draft:
    """A cell that is ready to be stored."""

    cell: CellKey
    items: pa.Table
    responses: pa.Table
    facts: CellFacts
    imported: Imported

    @property
    def cell_id(self) -> str:
        return self.cell.cell_id


def _items(count: int) -> str:
    return f"{count} item{'' if count == 1 else 's'}"


def _check_arm(plan: Plan, arm: NewArm) -> None:
    if not arm.label.strip():
        raise InputError("the label is empty", "Give the arm a name with --label.")
    if arm.label in plan.methods:
        raise InputError(f"{arm.label!r} is a method of the run's grid", "Choose another --label.")
    models = {cell.model for cell in plan.cells}
    if arm.model not in models:
        raise InputError(f"the run has no model {arm.model!r}", nearest_remedy(arm.model, models))


def _draft(run: RunFolder, plan: Plan, file: SampleFile, arm: NewArm) -> _Draft:
    if file.task not in plan.tasks:
        raise InputError(
            f"{file.path} is of the task {file.task!r}, which the run does not have",
            nearest_remedy(file.task, plan.tasks),
        )
    identity = {
        "version": IDENTITY_VERSION,
        "imported": arm.label,
        "model": arm.model,
        "task": file.task,
        "sample_seed": _seed(plan, file.task, arm, "sample_seed"),
        "fewshot_seed": _seed(plan, file.task, arm, "fewshot_seed"),
        "sha256": file.sha256,
    }
    cell = _cell(identity)
    known = known_items(run, plan, arm.model, file.task, cell.fewshot_seed)
    directions = file.directions | known.directions
    rows = list(_rows(cell, file, known, directions))
    if not rows:
        raise InputError(
            f"none of the documents of {file.path} with a score is one that the run scored",
            "Both must read the same documents: compare the versions of the task, and limits.",
        )
    answers = response_rows(cell.cell_id, file.task, file.samples)
    scored = {row["item_id"] for row in rows}
    responses = [row for row in answers if row["item_id"] in scored]
    table = pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)
    run.check_items(table, cell.cell_id, f"Check the scores in {file.path}.")
    report = _import_report(file, known, rows, responses, directions)
    source = file.provenance | {
        "documents_left_out": report.n_foreign,
        "documents_with_other_prompts": report.n_other_prompts,
    }
    facts = CellFacts(
        name=f"{arm.label} (imported) on {file.task}, {arm.model}",
        identity=identity,
        imported=ImportSource.model_validate(source),
        metrics_without_numbers=list(report.unnumbered),
        metrics_without_direction=list(report.undirected),
    )
    draft = _Draft(
        cell,
        table,
        pa.Table.from_pylist(responses, schema=RESPONSE_SCHEMA),
        facts,
        report,
    )
    run.check_cell(draft.cell_id, draft.items, draft.responses, facts)
    return draft


def _cell(identity: Mapping[str, Any]) -> CellKey:
    """The columns by which rows name the cell: an unsteered arm of its own name."""
    return CellKey(
        cell_id=id_of(identity),
        model=identity["model"],
        method=identity["imported"],
        strength=0.0,
        layer="",
        task=identity["task"],
        fit_seed=None,
        sample_seed=identity["sample_seed"],
        fewshot_seed=identity["fewshot_seed"],
    )


def _seed(plan: Plan, task: str, arm: NewArm, name: str) -> int:
    """The seed of the run's cells that imported rows pair with."""
    known = sorted({getattr(cell, name) for cell in plan.cells if cell.task == task})
    given: int | None = getattr(arm, name)
    option = "--" + name.replace("_", "-")
    if given is None:
        if len(known) > 1:
            raise InputError(
                f"the run has several values of {name} for {task}: {', '.join(map(str, known))}",
                f"Name the one that these samples pair with: {option}.",
            )
        return int(known[0])
    if given not in known:
        raise InputError(
            f"the run has no {name} {given} for {task}",
            f"Give one of {', '.join(map(str, known))} with {option}.",
        )
    return given


def _rows(
    cell: CellKey, file: SampleFile, known: KnownItems, directions: Mapping[str, bool]
) -> Iterator[dict[str, Any]]:
    for score in scores_of(file.samples, file.task):
        better = directions.get(score.name, directions.get(score.metric))
        if better is None or score.item_id not in known.items:
            continue
        cluster, split = known.items[score.item_id]
        yield {
            **cell.columns(),
            "metric": score.name,
            "higher_is_better": better,
            "item_id": score.item_id,
            "cluster_id": cluster,
            "split": split,
            "fold": None,
            "value": score.value,
            "weight": score.weight,
        }


def _import_report(
    file: SampleFile,
    known: KnownItems,
    rows: Sequence[Mapping[str, Any]],
    responses: Sequence[Mapping[str, Any]],
    directions: Mapping[str, bool],
) -> Imported:
    paired = {row["item_id"] for row in rows}
    directed = {name.partition(":")[0] for name in directions}
    return Imported(
        task=file.task,
        n_items=len(paired),
        n_foreign=len(set(item_ids(file.samples)) - known.items.keys()),
        n_lacking=len(known.items.keys() - paired),
        n_other_prompts=known.other_prompts(responses),
        undirected=tuple(without_direction(file.samples, directed)),
        unnumbered=tuple(without_numbers(file.samples)),
        is_new=True,
    )


def _check_settings(cells: Sequence[CellKey]) -> None:
    """Refuse two imported cells of one setting: they would be two answers to one question."""
    seen: set[tuple[Any, ...]] = set()
    for cell in cells:
        if cell.setting in seen:
            raise InputError(
                f"{cell.method!r} has other samples of {cell.task} already",
                "Choose another --label; for another draw, another --sample-seed or "
                "--fewshot-seed of the run.",
            )
        seen.add(cell.setting)


def _baseline(manifest: Manifest, arm: NewArm) -> str | None:
    """The label of the imported baseline from now on; None for the grid's own."""
    before = manifest.imported.baseline if manifest.imported else None
    if arm.is_baseline is None:
        return before
    if arm.is_baseline:
        return arm.label
    return None if before == arm.label else before


def _stored(run: RunFolder, draft: _Draft) -> Imported:
    """Write a cell that is there unless it has the same rows.

    The same samples may pair with other items than before, if the run was resumed.
    """
    items, responses = run.read_cell(draft.cell_id)
    if items.equals(draft.items) and responses.equals(draft.responses):
        return replace(draft.imported, is_new=False)
    run.write_cell(draft.cell_id, draft.items, draft.responses, draft.facts)
    return draft.imported
