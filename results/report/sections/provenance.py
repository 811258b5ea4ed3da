"""The last sections: items, how to read the report, failed cells, provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from steereval.results.analysis.run_analysis import Analysis
from steereval.results.report.blocks import Block, Code, Facts, Fold, Items, Section, Text
from steereval.results.report.glossary import how_to_read
from steereval.results.report.item_chunks import ItemChunk
from steereval.results.report.tables.secondary import failure_table, profile_table, seed_table
from steereval.results.store.manifest import Manifest, Plan
from steereval.results.store.profiles import Profile

BROWSE = (
    "Single test items on which methods differ from the baseline: what the model was asked, what "
    "is correct, and what it answered. Scores are means over fit seeds; answers are those of the "
    "first one."
)
NOTHING_TO_BROWSE = (
    "No method has scores on test items in addition to the baseline, so there is nothing to "
    "browse. All scores are in items.jsonl in this folder."
)
TIMES = (
    "Each group's seconds, and the shares of their phases in per cent. Cells of a group were "
    "answered in one pass."
)


def items_section(chunks: Sequence[ItemChunk]) -> Section:
    """The item browser."""
    if not chunks:
        return Section("items", "Items", (Text(NOTHING_TO_BROWSE, "absent"),), "nothing to browse")
    blocks = (Text(BROWSE, "explain"), Items())
    return Section("items", "Items", blocks, "prompts, correct answers, and what each method said")


def reading_section(plan: Plan) -> Section:
    """The terms of the report."""
    terms = Facts(how_to_read(plan), "terms")
    return Section("reading", "How to read it", (terms,), "the terms of this page")


def failures_section(analysis: Analysis) -> Section | None:
    """Failed cells with their errors; None if nothing failed."""
    n = len(analysis.failures)
    if not n:
        return None
    grid = failure_table(analysis.failures)
    return Section("failed", "Failed cells", (grid,), f"{n} cell{'s' if n > 1 else ''}")


def provenance_section(
    analysis: Analysis, manifest: Manifest, profiles: Sequence[Profile]
) -> Section:
    """Versions, machine, seeds, documents, and where the time went."""
    blocks: list[Block] = [Facts(tuple(_facts(analysis, manifest))), seed_table(analysis)]
    if profiles:
        blocks.append(
            Fold("Where the time went", (Text(TIMES, "explain"), profile_table(profiles)))
        )
    blocks += [Fold(title, (Code(text),)) for title, text in _documents(manifest)]
    created = manifest.created.replace("T", " ")[:16]
    hint = ", ".join(filter(None, (created and f"planned {created}", "versions, seeds, grid")))
    return Section("provenance", "Provenance", tuple(blocks), hint)


def _facts(analysis: Analysis, manifest: Manifest) -> Iterator[tuple[str, str]]:
    cells = analysis.cells
    yield "Planned", manifest.created or "not recorded"
    yield (
        "Cells",
        f"{cells.planned} planned, {cells.done} finished, {cells.failed} failed, "
        f"{cells.pending} without a record",
    )
    yield "Schema version", str(manifest.schema_version)
    for task, entry in manifest.tasks.items():
        for judge, judged_by in entry.judges.items():
            who = judged_by.model or judged_by.scorer or "the published model"
            yield f"Judge {judge} of {task}", who
    for known in (manifest.versions, manifest.machine):
        yield from ((name, str(value)) for name, value in known.items())


def _documents(manifest: Manifest) -> Iterator[tuple[str, str]]:
    cards = manifest.contrasts.items()
    documents: list[tuple[str, object]] = [(f"Contrast set {name}", card) for name, card in cards]
    methods = {label: method.plain() for label, method in manifest.methods.items()}
    documents += [("Methods", methods), ("Grid", manifest.grid)]
    for title, value in documents:
        if value:
            yield title, json.dumps(value, indent=2, ensure_ascii=False)
