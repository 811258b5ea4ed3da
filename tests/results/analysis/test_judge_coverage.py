"""What a report says of judges."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from steereval.results.analysis.judge_coverage import not_judged, not_measured, products_of_means
from steereval.results.analysis.leaderboard import Row
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.manifest import Task


def row(name: str, metric: str, mean: float | None, model: str = "m") -> Row:
    score = None if mean is None else SimpleNamespace(mean=mean)
    names = {key: SimpleNamespace(name=value) for key, value in (("task", "t"), ("metric", metric))}
    return cast(Row, SimpleNamespace(model=model, name=name, score=score, **names))


def test_a_product_is_of_two_means_of_one_row() -> None:
    rows = [
        row("caa", "true", 0.5), row("caa", "informative", 0.8), row("caa", "acc", 0.1),
        row("none", "true", 0.25), row("none", "informative", None),
        row("caa", "true", 1.0, "other"),
    ]  # fmt: skip
    assert products_of_means(rows) == {("m", "t", "caa"): pytest.approx(0.4)}


def test_only_stand_ins_have_not_measured() -> None:
    tasks = {
        name: Task(name, "target", None, "acc", None, {}, None, stand_ins)
        for name, stand_ins in (("a", ("truth", "info")), ("b", ()))
    }
    assert [sentence.split(" is a")[0] for sentence in not_measured(tasks)] == [
        "Not measured: the judge truth of a",
        "Not measured: the judge info of a",
    ]


def record(status: str = "done", **facts: Any) -> CellRecord:
    task = {"name": "t", "judges": [{"name": "truth"}]}
    files = {"items": {"bytes": 1}, "responses": {"bytes": 1}}
    needed = {"schema_version": 1, "cell_id": "x", "status": status, "files": files}
    return CellRecord.model_validate(needed | {"identity": {"task": task}} | facts)


def test_what_was_answered_and_not_judged_is_counted() -> None:
    records = {
        "a": record(judges={"truth": {}}),
        "b": record(),
        "c": record(judge_errors={"truth": "no memory."}),
        "d": record("failed"),
        "e": record(identity={"task": "t", "imported": "hf"}),
    }
    assert list(not_judged(records)) == ["The judge truth has not judged 2 cells of t: no memory."]
    assert list(not_judged({"b": record()})) == [
        "The judge truth has not judged 1 cell of t: it has not run yet."
    ]
