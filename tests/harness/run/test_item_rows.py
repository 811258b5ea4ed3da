"""Item rows from lm-eval's samples."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from steereval.harness.config.grid import parse_grid
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.item_rows import assign_splits, contents, directions, item_rows
from steereval.results.lm_eval.samples import without_direction
from steereval.tasks.catalogue.cards import MetricCard, TaskCard


class Task:
    """Says of `acc` which way is better, and of what else it scores nothing."""

    def higher_is_better(self) -> dict[str, bool]:
        return {"acc": True}


def sample(**scores: Any) -> dict[str, Any]:
    return {"doc_id": 0, "doc": {"q": "?"}, "doc_hash": "ab" * 32, "filter": "none",
            "metrics": list(scores), **scores}  # fmt: skip


def test_a_score_without_a_direction_gives_no_row() -> None:
    """lm-eval takes the mean of whatever a task gives; nobody says which way is better."""
    grid = {"name": "g", "models": [{"name": "m", "layers": [0]}], "methods": ["none"],
            "tasks": ["truthful_mini_mc"]}  # fmt: skip
    (cell,) = make_plan(parse_grid(grid))
    odd = MetricCard("continuous", False)
    described = TaskCard("realtoxicity_mini", "", "acc", {"odd": odd}, "target")
    samples = [sample(acc=1.0, odd=2.0, length=7)]
    rows = list(item_rows(cell, described, samples, lambda _: None, Task()))
    assert [(r["metric"], r["higher_is_better"]) for r in rows] == [("acc", True), ("odd", False)]
    assert without_direction(samples, directions(described, Task())) == ["length"]


class Asking(Task):
    """A task whose prompts begin with examples, which differ from document to document."""

    def __init__(self, num_fewshot: int) -> None:
        self.config = SimpleNamespace(num_fewshot=num_fewshot)

    def doc_to_text(self, doc: dict[str, Any]) -> str:
        return f"Q: {doc['q']}\nA:"


def sample_of(number: int, question: str, example: str = "") -> dict[str, Any]:
    """A document with a number of its own, which its hash depends on."""
    prompt = f"{example}Q: {question}\nA:"
    document = {"id": number, "q": question}
    fields = {"doc_id": number, "doc": document, "doc_hash": f"{number:02x}" * 32}
    return sample(acc=1.0) | fields | {"arguments": [(prompt, " yes"), (prompt, " no")]}


@pytest.mark.parametrize("num_fewshot", [0, 2])
def test_documents_that_ask_the_same_are_one_cluster(num_fewshot: int) -> None:
    grid = {"name": "g", "models": [{"name": "m", "layers": [0]}], "methods": ["none"],
            "tasks": ["realtoxicity_mini"]}  # fmt: skip
    (cell,) = make_plan(parse_grid(grid))
    described = TaskCard("realtoxicity_mini", "", "acc", {}, "target")
    examples = [f"Q: {i}?\nA: yes\n" * num_fewshot for i in range(3)]
    samples = [sample_of(1, "why?", examples[0]), sample_of(2, "why?", examples[1]),
               sample_of(3, "who?", examples[2])]  # fmt: skip
    task = Asking(num_fewshot)
    rows = list(item_rows(cell, described, samples, lambda _: None, task))
    assert [row["cluster_id"] for row in rows] == [*["like " + "01" * 8] * 2, None]
    result = contents(samples, task)
    for share in (0.1, 0.4, 0.6, 0.9):
        splits = assign_splits([row["item_id"] for row in rows], share, result)
        assert splits["01" * 8] == splits["02" * 8]
        assert set(splits.values()) == {"validation", "test"}
