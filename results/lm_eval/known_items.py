"""Items of a task in a run: their clusters, splits and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from steereval.common.errors import InputError
from steereval.results.store.manifest import Plan
from steereval.results.store.run_folder import RunFolder


@dataclass
class KnownItems:
    """The items of one task, as the finished cells of a run have them."""

    items: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    """{item: (cluster, split)}."""
    directions: dict[str, bool] = field(default_factory=dict)
    """{metric: whether higher is better}."""
    prompts: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    """{(item, number of the request): hashes of its prompts}."""

    def other_prompts(self, responses: Sequence[Mapping[str, Any]]) -> int:
        """How many items of `responses` were asked about in words that no cell used."""
        nothing: set[str] = set()
        other = {
            row["item_id"]
            for row in responses
            if row["prompt_hash"] not in self.prompts.get((row["item_id"], row["request"]), nothing)
        }
        return len(other)

    def add(self, items: pa.Table, responses: pa.Table) -> None:
        """Learn from the rows of one cell."""
        columns = ["item_id", "cluster_id", "split"]
        for row in items.select(columns).group_by(columns).aggregate([]).to_pylist():
            before = self.items.get(row["item_id"], (None, row["split"]))
            self.items[row["item_id"]] = (before[0] or row["cluster_id"], row["split"])
        columns = ["metric", "higher_is_better"]
        for row in items.select(columns).group_by(columns).aggregate([]).to_pylist():
            self.directions[row["metric"]] = row["higher_is_better"]
        for row in responses.select(["item_id", "request", "prompt_hash"]).to_pylist():
            hashes = self.prompts.setdefault((row["item_id"], row["request"]), set())
            hashes.add(row["prompt_hash"])


def known_items(run: RunFolder, plan: Plan, model: str, task: str, fewshot_seed: int) -> KnownItems:
    """From the run's own finished cells of one model, task and choice of few-shot examples.

    Raises InputError if there are none: without them nobody knows the splits.
    """
    wanted = (model, task, fewshot_seed)
    computed_here = {
        cell.cell_id
        for cell in plan.cells
        if (cell.model, cell.task, cell.fewshot_seed) == wanted and cell.method not in plan.imported
    }
    known = KnownItems()
    for cell_id in sorted(computed_here & run.finished()):
        known.add(*run.read_cell(cell_id))
    if not known.items:
        raise InputError(
            f"the run has no finished cell of {model} on {task}, so there is nothing to pair with",
            "Run the grid first, then import.",
        )
    return known
