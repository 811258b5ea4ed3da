"""Documents that come several times count once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, Floats, response_table, write_run

from steereval.results.analysis.duplicates import clusters_with_twins, contents_of, linked, twins
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.analysis.run_comparison import compare_runs, open_run
from steereval.results.analysis.scores import load_scores
from steereval.results.store.schema import RESPONSE_SCHEMA

COPIES, DOCUMENTS, TASKS = 4, 100, 48


def repeated_id(task: str, number: int) -> str:
    """As lm-eval's documents of one hash are named: the first by it, the others with a number."""
    digest = hashlib.sha256(str(number // COPIES).encode()).hexdigest()[:16]
    return digest if number % COPIES == 0 else f"{digest}-{number % COPIES + 1}"


def as_often(cell: dict[str, Any], values: Floats) -> Floats:
    return values[np.arange(len(values)) // COPIES * COPIES]


def run_of(kind: str, item_id: Callable[[str, int], str], n_tasks: int, **changes: Any) -> FakeRun:
    task = FakeTask("t", kind=kind, n_validation=0, n_test=COPIES * DOCUMENTS, item_id=item_id)
    tasks = tuple(replace(task, name=f"t{number}") for number in range(n_tasks))
    given = {"fit_seeds": (0,), "select": None, "value": as_often}
    return FakeRun((FakeMethod("nothing"),), tasks, **(given | changes))


def p_values(analysis: Analysis) -> Floats:
    effect = [row.comparison.effect.p_value for row in analysis.rows if row.comparison is not None]
    return np.array(effect)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_each_document_four_times_claims_no_more_than_once(tmp_path: Path, kind: str) -> None:
    """Before, p < 0.05 in 16 to 18 of 48 comparisons without any effect."""
    analysis = analyse(write_run(run_of(kind, repeated_id, TASKS), tmp_path / "run"))
    result = p_values(analysis)
    assert len(result) == TASKS
    assert int((result < 0.05).sum()) <= 6  # 2.4 are expected; more than 6 come once in 100 times
    comparison = next(row.comparison for row in analysis.rows if row.comparison is not None)
    assert comparison.effect.n_clusters == DOCUMENTS
    assert comparison.grouping.n_unclustered == 0
    assert sum("300 of 400 items" in note for note in analysis.notes) == TASKS


def test_other_ids_with_the_same_requests_are_the_same_content(tmp_path: Path) -> None:
    """Documents that differ in a number of their own: what they ask says that they are one."""

    def equal_requests(cell: dict[str, Any], item_ids: list[str]) -> pa.Table:
        table = response_table(cell, item_ids).to_pydict()
        hashes = [f"prompt {i // COPIES}" for i in range(len(item_ids))]
        return pa.table(table | {"prompt_hash": hashes}, schema=RESPONSE_SCHEMA)

    run = run_of("continuous", lambda task, i: f"{task}-{i:05d}", 1, responses=equal_requests)
    folder = write_run(run, tmp_path / "run")
    (scores,) = load_scores(folder).values()
    assert scores.n_repeated == 300
    assert len(np.unique(scores.clusters)) == DOCUMENTS
    both = compare_runs(open_run("a", folder), open_run("b", folder))
    assert any("300 items repeat" in note for note in both.notes)


def test_items_that_differ_stay_what_they_were(tmp_path: Path) -> None:
    run = run_of("binary", lambda task, i: f"{i:016x}", 1)
    analysis = analyse(write_run(run, tmp_path / "run"))
    (comparison,) = [row.comparison for row in analysis.rows if row.comparison is not None]
    assert comparison.grouping.clusters is None
    assert not any("repeat" in note for note in analysis.notes)


def test_a_validation_item_with_a_twin_in_the_test_is_reported(tmp_path: Path) -> None:
    task = FakeTask("t", n_validation=2, n_test=COPIES * 10 - 2, item_id=repeated_id)
    run = FakeRun((FakeMethod("m"),), (task,), fit_seeds=(0,), value=as_often)
    folder = write_run(run, tmp_path / "run")
    (scores,) = load_scores(folder).values()
    assert scores.n_leaked == 2
    assert any("2 test items" in note for note in analyse(folder).notes)


def test_groups_that_share_an_item_are_one() -> None:
    assert list(linked(["a", "b", "a", "c"], [None, "x", "x", None])) == [0, 0, 0, 1]
    assert list(linked([None, None, "a"])) == [0, 1, 2]
    assert list(linked([])) == []


def test_clusters_that_share_a_content_are_merged() -> None:
    ids = ["00000000000000aa", "00000000000000aa-2", "00000000000000bb", "00000000000000cc", "x-2"]
    clusters = ["history", "law", "law", None, None]
    assert clusters_with_twins(ids, {}, clusters) == [*["history + law"] * 3, None, None]
    same = {ids[3]: "asked", "x-2": "asked"}
    names = clusters_with_twins(ids, same, [None] * 5)
    assert names == [*["like 00000000000000aa"] * 2, None, *["like 00000000000000cc"] * 2]
    assert list(twins(ids, same)) == [0, 0, 1, 2, 2]


def test_what_is_asked_has_no_order_and_what_was_written_does_not_count() -> None:
    def table(*rows: tuple[str, str, str, str]) -> pa.Table:
        names = ("item_id", "kind", "prompt_hash", "continuation")
        return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))

    result = contents_of(
        table(
            ("a", "loglikelihood", "p", " yes"),
            ("a", "loglikelihood", "p", " no"),
            ("b", "loglikelihood", "p", " no"),
            ("b", "loglikelihood", "p", " yes"),
            ("c", "loglikelihood", "p", " no"),
            ("d", "generation", "p", "This."),
            ("e", "generation", "p", "That."),
        )
    )
    assert result["a"] == result["b"] != result["c"]
    assert result["d"] == result["e"]
