"""Gain, harm and cost in one row: on the page, in the terminal, in the files; one voice in all."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_diagnosis import diagnosed_run
from fake_run import FakeMethod, FakeRun, FakeTask, bare_manifest, write_run

from steereval.results.analysis.conclusion import conclusion, short_verdict, verdict_words
from steereval.results.analysis.departures import departures
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.analysis.verdicts import IMPROVEMENTS
from steereval.results.questions.cost import speed_changes
from steereval.results.questions.evidence import Evidence
from steereval.results.report import build_report
from steereval.results.report.summary import MARKS, p_words, tone_of
from steereval.results.report.tables.table import Entry
from steereval.results.report.tables.verdict_matrix import matrix_grid, matrix_rows
from steereval.results.report.writers.terminal import print_verdicts
from steereval.results.store.diagnosis import read_diagnoses
from steereval.results.store.run_folder import RunFolder


def collapsing() -> FakeRun:
    """caa helps at strength 4, where hardly any answer is informative; iti does nothing."""

    def effect(task: str, strength: float) -> float:
        return {"open": 0.08, "arc": -0.05}.get(task, 0.0) * strength

    def informative(method: str, strength: float) -> float:
        return 0.1 if (method, strength) == ("caa", 4.0) else 0.9

    open_task = FakeTask(
        "open", "true", beside=(FakeTask("info", "informative", share=informative),)
    )
    return FakeRun(
        methods=(FakeMethod("caa", (1.0, 4.0), effect), FakeMethod("iti", (1.0, 4.0))),
        tasks=(open_task, FakeTask("arc", role="capability", margin=0.04, n_validation=0)),
        fit_seeds=(0, 1, 2),
        select={"on": "validation", "metric": "", "task": None},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(collapsing(), tmp_path_factory.mktemp("collapsing") / "run")


@pytest.fixture(scope="module")
def analysis(run: RunFolder) -> Analysis:
    return analyse(run)


def lines(analysis: Analysis, costs: Any = None) -> dict[tuple[str, str], dict[str, Entry]]:
    """{(method, task): {kind of column: entry}}."""
    grid = matrix_grid(analysis, costs or {})
    kinds = [column.kind for column in grid.columns]
    return {
        (row.arm.method, row.task.name): dict(zip(kinds, line, strict=True))
        for row, line in zip(matrix_rows(analysis), grid.rows, strict=True)
    }


def row_of(analysis: Analysis, method: str, task: str) -> Row:
    (row,) = (
        row
        for row in analysis.rows
        if (row.arm.method, row.task.name, row.is_primary) == (method, task, True)
    )
    return row


def test_a_gain_that_collapses_says_so_in_its_verdict(analysis: Analysis) -> None:
    row, entry = row_of(analysis, "caa", "open"), lines(analysis)["caa", "open"]
    assert row.verdict is not None
    assert row.verdict.word in IMPROVEMENTS
    assert (row.collapses_from, row.is_collapsed) == (4.0, True)
    assert tone_of(row) == "harm"
    assert entry["verdict"].text == f"{MARKS['harm']} {verdict_words(row)}"
    assert "collapsed" in verdict_words(row)
    assert "collapses from strength 4 on" in [r.text for r in entry["verdict"].remarks]


def test_harm_stands_in_the_row_of_the_gain(analysis: Analysis) -> None:
    """The companion that falls and the capability that is lost, both with their tone."""
    effects = lines(analysis)["caa", "open"]["effects"].remarks
    assert [remark.tone for remark in effects] == ["bad", "bad"]
    assert [remark.text.split()[1] for remark in effects] == ["informative", "arc"]
    others = lines(analysis)["iti", "open"]["effects"].remarks
    assert "bad" not in [remark.tone for remark in others]


def test_a_capability_at_another_strength_says_at_which(analysis: Analysis) -> None:
    chosen = row_of(analysis, "caa", "open").strengths
    assert set(chosen.values()) == {4.0}
    moved = [
        dataclasses.replace(row, strengths=dict.fromkeys(row.strengths, 1.0))
        if (row.arm.method, row.task.name) == ("caa", "arc")
        else row
        for row in analysis.rows
    ]
    result = dataclasses.replace(analysis, rows=tuple(moved))
    (capability,) = (
        remark.text
        for remark in lines(result)["caa", "open"]["effects"].remarks
        if "arc" in remark.text
    )
    assert "at strength 1 " in capability


def test_the_headline_names_gain_loss_and_collapse(analysis: Analysis) -> None:
    result = conclusion([row for row in analysis.rows if row.is_confirmatory])
    assert [row.arm.method for row in result.gains] == ["caa"]
    assert [row.arm.method for row in result.collapsed] == ["caa"]
    assert result.best is result.gains[0]
    said = short_verdict(analysis.rows, "none")
    assert len(said) == 3
    assert "1 of 2 comparisons" in said[0]
    assert all("caa" in sentence for sentence in said)


def test_replication_and_verdicts_have_one_voice(tmp_path: Path) -> None:
    """One gain of two tasks that alone would pass, and not after adjusting for ten methods."""
    methods = tuple(
        FakeMethod(f"m{i}", effect=lambda task, s, e=0.105 * (i == 0): e * (task == "a"))  # type: ignore[misc]
        for i in range(10)
    )
    tasks = tuple(FakeTask(name, n_validation=0, n_test=240) for name in ("a", "b"))
    result = analyse(write_run(FakeRun(methods, tasks, fit_seeds=(0,), select=None), tmp_path))
    row = row_of(result, "m0", "a")
    assert row.comparison is not None
    assert row.p_adjusted is not None
    assert row.comparison.effect.p_value < 0.025 < 0.05 < row.p_adjusted
    assert "alone" in p_words(row, result.plan.alpha)
    better = [r.arm.label for r in result.rows if r.verdict and r.verdict.word in IMPROVEMENTS]
    for each in result.replications:
        assert each.at_least == better.count(each.arm)


@pytest.mark.slow
def test_measured_cost_stands_in_the_row_and_no_other(tmp_path: Path) -> None:
    run = diagnosed_run(tmp_path / "run")
    result = analyse(run)
    evidence = Evidence(result, run.read_manifest(), read_diagnoses(run.place))
    costs = speed_changes(evidence)
    assert {label for _, _, label in costs} == {"odesteer", "caa"}
    rows = lines(result, costs)
    assert rows["odesteer", "truth"]["cost"].order == pytest.approx(-0.07, abs=0.002)
    assert rows["gradient_ascent", "truth"]["cost"].text == "–"
    assert "cost" not in lines(result)["odesteer", "truth"]


@pytest.mark.slow
def test_collapse_is_in_the_files_too(run: RunFolder, analysis: Analysis, tmp_path: Path) -> None:
    folder = build_report(run, tmp_path / "report").parent
    table = pq.read_table(folder / "leaderboard.parquet").to_pylist()
    collapses = {(r["method"], r["metric"]): (r["collapses_from"], r["collapsed"]) for r in table}
    assert collapses["caa", "true"] == (4.0, True)
    assert collapses["iti", "true"] == (None, False)
    assert collapses["none", "true"] == (None, None)
    for name in ("report.md", "leaderboard.md", "leaderboard.tex"):
        text = (folder / name).read_text(encoding="utf-8")
        assert verdict_words(row_of(analysis, "caa", "open")) in text, name


class Terminal(io.StringIO):
    """A stream that says it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """140 columns, whatever the tests run in."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    return Terminal()


def test_a_terminal_gets_colours_and_shapes(analysis: Analysis, terminal: Terminal) -> None:
    print_verdicts(analysis, terminal)
    text = terminal.getvalue()
    assert "\x1b[" in text
    assert f"{MARKS['harm']} better, but collapsed" in text


def test_a_narrow_terminal_gets_difference_and_verdict(
    analysis: Analysis, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_verdicts(analysis, terminal)
    text = terminal.getvalue()
    assert "Difference" in text
    assert "Verdict" in text
    assert "Side effects" not in text


def test_a_pipe_gets_a_line_a_row(analysis: Analysis) -> None:
    stream = io.StringIO()
    print_verdicts(analysis, stream)
    first, heads, *rows = stream.getvalue().splitlines()
    assert first == " ".join(short_verdict(analysis.rows, "none"))
    assert heads.split()[0] == "Method"
    assert len(rows) == len(matrix_rows(analysis))
    assert "\x1b[" not in stream.getvalue()
    start = heads.index("Verdict")
    assert {row[start] for row in rows} <= set(MARKS.values())


def test_a_pipe_that_knows_no_shapes_gets_the_words(analysis: Analysis) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_verdicts(analysis, stream)
    assert b"better, but collapsed" in raw.getvalue()


def test_departures_are_reported(tmp_path: Path) -> None:
    limits = {"a": 24, "b": None, "c": 50, "d": 50}
    tasks = [
        {"name": name, "limit": limit, "num_fewshot": None, "generation": {}}
        for name, limit in limits.items()
    ]
    tasks[1] |= {"num_fewshot": 3, "generation": {"do_sample": True}}
    entry = {"role": "target", "primary_metric": "acc", "metrics": {}}
    documents = {"a": 817, "b": 9, "c": 50, "d": None}
    manifest = bare_manifest(
        grid={"tasks": tasks},
        tasks={name: entry | {"documents": count} for name, count in documents.items()},
    )
    assert list(departures(manifest)) == [
        "a: the first 24 of 817 items (`limit`).",
        "b: 3 examples in the prompt (`num_fewshot`); generation with do_sample true.",
        "d: the first 50 items (`limit`).",
    ]
    assert list(departures(bare_manifest(grid={"name": "x"}))) == []


GOLDEN = Path(__file__).with_name("golden_report.md")


@pytest.mark.slow
def test_the_wording_of_the_report_is_the_golden_one(run: RunFolder, tmp_path: Path) -> None:
    """All of it but the provenance. STEEREVAL_GOLDEN=write puts the new wording in its place."""
    text = (build_report(run, tmp_path / "report").parent / "report.md").read_text("utf-8")
    result = text[: text.index("## Provenance")]
    if os.environ.get("STEEREVAL_GOLDEN") == "write":
        GOLDEN.write_text(result, encoding="utf-8")
    assert result == GOLDEN.read_text(encoding="utf-8")
