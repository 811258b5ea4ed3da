"""What a report says of designs at the edges, by the command line and the files that it writes.

Nothing here knows how a figure is computed: each test holds for any estimator that is right.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, Floats, generator_of, write_run

from steereval.harness.cli.main import main
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report.writers.leaderboard_table import flat_table
from steereval.results.stats import crossed_effect
from steereval.results.store import parquet

pytestmark = pytest.mark.slow

Row = dict[str, Any]


def leaderboard(run: FakeRun, folder: Path) -> list[Row]:
    """The rows of leaderboard.csv, those of the baseline left out."""
    rows: list[Row] = flat_table(analyse(write_run(run, folder)).rows).to_pylist()
    return [row for row in rows if not row["baseline"]]


def drawn(
    change: Callable[[np.random.Generator, int, dict[str, Any]], Floats], baseline: float = 0.5
) -> Any:
    """Baselines that are all alike, and for every other cell what `change` draws on top."""

    def value(cell: dict[str, Any], values: Floats) -> Floats:
        if cell["method"] == "none":
            return np.full_like(values, baseline)
        parts = (cell["task"], cell["method"], cell["fit_seed"])
        return baseline + change(generator_of("edge", *parts), len(values), cell)

    return value


def design(kind: str, n: int, seeds: int, value: Any, **changes: Any) -> FakeRun:
    """One method against the baseline."""
    given: dict[str, Any] = {"n_validation": 0, "n_test": n, "kind": kind} | changes
    task = FakeTask("t", **given)
    return FakeRun(
        (FakeMethod("m"),), (task,), fit_seeds=tuple(range(seeds)), select=None, value=value
    )


@pytest.mark.parametrize("right", [0.0, 1.0], ids=["floor", "ceiling"])
def test_five_items_at_an_end_of_the_scale_do_not_show_safety(tmp_path: Path, right: float) -> None:
    """Both arms alike on five items, with a margin of two points."""
    run = design(
        "bounded", 5, 1, lambda cell, values: np.full_like(values, right),
        role="capability", margin=0.02,
    )  # fmt: skip
    (row,) = leaderboard(run, tmp_path / "run")
    assert row["verdict"] == "inconclusive"
    assert row["p_margin"] > 0.05
    assert row["difference_low"] < -0.02 < 0.02 < row["difference_high"]


FLAT = [
    *itertools.product(["binary", "bounded"], [0.0, 1.0], [25, 199, 200], [1, 3]),
    ("continuous", 0.3, 25, 3),
]


def test_differences_that_do_not_vary_have_an_interval(tmp_path: Path) -> None:
    """None, and the whole scale, on every item: never one of no width."""
    widths: dict[tuple[str, float, int, int], float] = {}
    for kind, value, n, seeds in FLAT:
        flat = drawn(lambda _, n, cell, value=value: np.full(n, value), 0.0)
        clusters = {"n_clusters": 10} if n == 200 else {}
        run = design(kind, n, seeds, flat, **clusters)
        (row,) = leaderboard(run, tmp_path / f"{kind} {value} {n} {seeds}")
        widths[kind, value, n, seeds] = row["difference_high"] - row["difference_low"]
        assert widths[kind, value, n, seeds] > 0.0, row
        assert row["mde"] <= 1.0 or math.isinf(row["mde"]), row
    for kind, value, n in itertools.product(["binary", "bounded"], [0.0, 1.0], [25, 199]):
        assert widths[kind, value, n, 3] == pytest.approx(widths[kind, value, n, 1])


def test_seeds_that_cancel_have_a_p_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every item gains 1 by one fit and loses 1 by the other: the estimate is exactly 0."""
    signs = drawn(lambda _, n, cell: np.full(n, 1.0 - 2.0 * cell["fit_seed"]))
    (row,) = leaderboard(design("continuous", 20, 2, signs), tmp_path / "run")
    assert (row["difference"], row["p_value"]) == (0.0, 1.0)
    for command in ("report", "power"):
        assert main([command, str(tmp_path / "run")]) == 0
    assert "nan" not in capsys.readouterr().out
    assert crossed_effect([[1.0, -1.0]] * 20).p_robust == 1.0


@pytest.mark.parametrize("groups", [3, 4, 5])
def test_interval_p_value_and_detectable_effect_say_the_same(tmp_path: Path, groups: int) -> None:
    """One seed, and an item without a cluster: of four or five sign flips cannot reach 0.05."""
    near_half = drawn(lambda draw, n, cell: 0.499 + 0.001 * draw.normal(size=n), 0.0)
    run = design("bounded", 26, 1, near_half, n_clusters=groups)
    (row,) = leaderboard(run, tmp_path / "run")
    low, high = row["difference_low"], row["difference_high"]
    assert (row["p_value"] < 0.05) == (low > 0.0)
    assert (row["verdict"] == "inconclusive") == (low <= 0.0 <= high)
    if row["verdict"] == "inconclusive":
        assert row["mde"] > row["difference"]


def test_three_fits_that_spread_claim_no_rank(tmp_path: Path) -> None:
    """Five methods without an effect, whose fits move all items by 5 points or so."""

    def spread(draw: np.random.Generator, n: int, cell: dict[str, Any]) -> Floats:
        return np.asarray(draw.normal(0, 0.05) + draw.normal(0, 0.1, n))

    methods = tuple(FakeMethod(f"m{each}") for each in range(5))
    rows = leaderboard(many_tasks(methods, 40, 120, drawn(spread)), tmp_path / "run")
    claims = {"rank": 0, "holm": 0}
    for task in {row["task"] for row in rows}:
        family = [row for row in rows if row["task"] == task]
        claims["rank"] += any(row["rank_best"] > 1 or row["rank_worst"] < 6 for row in family)
        claims["holm"] += min(row["p_adjusted"] for row in family) < 0.05
    assert max(claims.values()) <= 40 * (0.05 + 2 * math.sqrt(0.05 * 0.95 / 40)), claims


def many_tasks(methods: tuple[FakeMethod, ...], number: int, n: int, value: Any) -> FakeRun:
    """The same experiment on `number` tasks of `n` items, with three fits."""
    tasks = (FakeTask(f"t{place}", kind="bounded", n_validation=0, n_test=n)
             for place in range(number))  # fmt: skip
    return FakeRun(methods, tuple(tasks), fit_seeds=(0, 1, 2), select=None, value=value)


def jumps(draw: np.random.Generator, n: int, cell: dict[str, Any]) -> Floats:
    """A tenth of the items gains 0.36, and all others lose what makes the mean 0."""
    items = generator_of("items", cell["task"], cell["method"])
    moves = np.where(items.random(n) < 0.1, 0.36, -0.04)
    return np.asarray(moves + draw.normal(0, 0.006, n))


def test_rare_jumps_hold_the_level_or_are_cautioned(tmp_path: Path) -> None:
    """37 items of a bounded metric without an effect."""
    rows = leaderboard(many_tasks((FakeMethod("m"),), 150, 37, drawn(jumps)), tmp_path / "run")
    claims = [row["p_value"] < 0.05 and not row["caution"] for row in rows]
    assert np.mean(claims) <= 0.07 + 2 * math.sqrt(0.07 * 0.93 / len(rows))


def test_documents_that_come_four_times_count_once(tmp_path: Path) -> None:
    """400 rows of 100 documents in each of 48 tasks, without any effect."""

    def item_id(task: str, place: int) -> str:
        name = f"{place // 4:016x}"
        return name if place % 4 == 0 else f"{name}-{place % 4 + 1}"

    tasks = tuple(FakeTask(f"t{place}", kind="continuous", n_validation=0, n_test=400,
                           item_id=item_id) for place in range(48))  # fmt: skip

    def value(cell: dict[str, Any], values: Floats) -> Floats:
        return values[np.arange(len(values)) // 4 * 4]

    run = FakeRun((FakeMethod("m"),), tasks, fit_seeds=(0,), select=None, value=value)
    rows = leaderboard(run, tmp_path / "run")
    assert sum(row["p_value"] < 0.05 for row in rows) <= 6
    assert {row["n_clusters"] for row in rows} == {100}


def spoilt(table: pa.Table, fault: str) -> pa.Table:
    """One row of a cell's table that cannot be."""
    rows = table.to_pylist()
    if fault == "duplicate":
        rows.append(rows[0])
    else:
        rows[0] |= {"value": {"value": 7.0}, "weight": {"weight": -1.0},
                    "nan": {"value": math.nan}}[fault]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize("fault", ["value", "weight", "duplicate", "nan"])
def test_rows_that_cannot_be_are_in_no_figure(tmp_path: Path, fault: str) -> None:
    """Also where the record holds the digest of what stands there."""
    folder = tmp_path / "run"
    write_run(design("binary", 30, 1, lambda cell, values: values), folder)
    path = min((folder / "cells").glob("*.parquet"))
    pq.write_table(spoilt(pq.read_table(path), fault), path)
    record = json.loads(path.with_suffix(".json").read_text())
    record["files"]["items"] = parquet.digest(path.read_bytes())
    path.with_suffix(".json").write_text(json.dumps(record))
    for words in (["report"], ["archive", "--out", str(tmp_path / "run.zip")]):
        assert main([words[0], str(folder), *words[1:]]) != 0
    assert main(["query", str(folder), "select avg(value) from rows"]) != 0
    assert not (folder / "report/leaderboard.csv").exists()
