"""Names from a run stay text in Markdown, CSV and data set cards."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path

import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.common.csv_text import csv_safe
from steereval.results.report import build_report
from steereval.results.report.tables.table import Column, Entry, ReportTable, markdown_text
from steereval.results.report.writers.dataset import write_dataset
from steereval.results.store.query import query
from steereval.results.store.query_output import lines_of
from steereval.results.store.run_folder import RunFolder

LABELS = (
    "[c](javascript:alert(1))", "![p](http://evil/x.png)", "<script>alert(1)</script>",
    "[r][1] [1]: http://evil", "=cmd|' /C calc'!A0", "@SUM(1)", "+1+1", "-2+3", "\t=1",
)  # fmt: skip
LINK = re.compile(r"(?<!\\)\](?=[(\[:])")
FORMULA = re.compile(r"[=+\-@\t\r]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    methods = tuple(FakeMethod(label, (1.0,), lambda task, strength: 0.1) for label in LABELS)
    folder = write_run(FakeRun(methods, (FakeTask("truth"),)), tmp_path_factory.mktemp("run") / "r")
    build_report(folder)
    return folder


def unsafe_cells(text: str) -> list[str]:
    return [
        cell
        for row in csv.reader(io.StringIO(text))
        for cell in row
        if FORMULA.match(cell) and not re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", cell, re.I)
    ]


@pytest.mark.parametrize("name", ["report.md", "leaderboard.md"])
def test_markdown_holds_no_link_and_no_script(run: RunFolder, name: str) -> None:
    text = (run.path / "report" / name).read_text()
    assert "javascript:alert" in text
    rest = re.sub(r"\]\(figures/[\w.-]+\.png\)", "", text)
    assert LINK.findall(re.sub(r"~~~json.*?~~~", "", rest, flags=re.DOTALL)) == []
    assert "<script" not in rest.lower().split("~~~json")[0]


@pytest.mark.slow
def test_the_card_of_a_data_set_holds_no_link_and_no_script(run: RunFolder, tmp_path: Path) -> None:
    write_dataset(run, tmp_path / "data")
    text = (tmp_path / "data" / "README.md").read_text()
    assert LINK.findall(text) == []
    assert "<script" not in text.lower()


def test_csv_files_hold_no_formula(run: RunFolder) -> None:
    assert unsafe_cells((run.path / "report" / "leaderboard.csv").read_text()) == []
    answer = query(run, "select distinct method, -1.5 as number from rows")
    text = "\n".join(lines_of(answer, "csv"))
    assert unsafe_cells(text) == []
    assert "-1.5" in text.split(",")[2].split("\n")[0]


def test_heads_and_downloads_of_tables_are_text() -> None:
    table = ReportTable(
        "t", "c", (Column("<script>x</script>"), Column("=1+1")), ((Entry("[a](b)"), Entry("+x")),)
    )
    assert "<script" not in table.markdown()
    assert "](" not in table.markdown().replace("\\](", "")
    content = base64.b64decode(table.download.partition("base64,")[2]).decode()
    assert unsafe_cells(content) == []


@pytest.mark.parametrize("text", ["12.5 -> 3 [-1.0, 2.0]", "a (b) [c] d", "50 % [1, 2], p"])
def test_intervals_stay_as_they_are(text: str) -> None:
    assert markdown_text(text) == text.replace(">", "&gt;")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_formulas_are_texts_in_csv(start: str) -> None:
    assert csv_safe(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("value", ["-1.5", "+3", "1e-5", "-2e+10", 4, None, "text", "a=b"])
def test_numbers_and_plain_texts_stay_in_csv(value: object) -> None:
    assert csv_safe(value) == value
