"""The leaderboard as people post it: Markdown, LaTeX, a Hugging Face data set."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import StoreError
from steereval.harness.cli.main import main
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report.tables.table import Column, Entry, ReportTable
from steereval.results.report.writers.dataset import write_dataset
from steereval.results.report.writers.latex import escaped, latex_table
from steereval.results.report.writers.leaderboard_post import (
    posted_latex,
    posted_markdown,
    posted_tables,
)
from steereval.results.store.run_folder import RunFolder

ODD = FakeRun(
    (FakeMethod("a_b & 50% {x}^2 #1 ~\\$|*", (1.0,), lambda task, strength: 0.4),),
    (FakeTask("truth", n_validation=0, n_test=60),),
    fit_seeds=(0, 1, 2),
    select=None,
)


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(ODD, tmp_path_factory.mktemp("odd") / "run")


@pytest.mark.slow
def test_markdown_has_a_table_for_every_primary_metric(planted_run: RunFolder) -> None:
    text = posted_markdown(analyse(planted_run))
    assert text.count("| Method | Strength |") == 3
    row, *_ = re.findall(r"^\| helps layer 14 \| 2 \|.*$", text, re.M)
    assert re.search(r"\| \+\d+\.\d \[\+\d+\.\d, \+\d+\.\d\] \| &lt;0.001 \| better \|", row)
    assert "adjusted by Holm" in text
    assert not set("▲▼") & set(text)


@pytest.mark.slow
def test_an_inconclusive_row_comes_with_what_the_design_detects(planted_run: RunFolder) -> None:
    (_, first), *_ = posted_tables(analyse(planted_run))
    (row,) = [row for row in first.rows if row[0].text == "nothing"]
    detects = [column.title for column in first.columns].index("Detects")
    assert row[5].text == "inconclusive"
    assert float(row[detects].text) > 0


def columns_of(line: str) -> list[str]:
    """The cells of a LaTeX row: `&` that are not escaped part them."""
    assert line.endswith("\\\\")
    return re.split(r"(?<!\\)&", line.removesuffix("\\\\"))


def test_latex_is_well_formed_for_any_method_name(odd_run: RunFolder) -> None:
    text = posted_latex(analyse(odd_run))
    inside = text[text.index("\\toprule") : text.index("\\bottomrule")].splitlines()
    rows = [line.strip() for line in inside if line.strip().endswith("\\\\")]
    assert {len(columns_of(row)) for row in rows} == {7}
    assert len(rows) == 3
    assert r"a\_b \& 50\% \{x\}\textasciicircum{}2 \#1" in text
    depth = 0
    for sign in re.sub(r"\\[{}\\]", "", text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    assert "$-$" in text or "+" in text
    assert set(re.findall(r"[^\x00-\x7f]", text)) == set()


def test_labels_of_latex_tables_are_distinct(tmp_path: Path) -> None:
    run = write_run(replace(ODD, models=("one", "two")), tmp_path / "run")
    labels = re.findall(r"\\label\{(.*)\}", posted_latex(analyse(run)))
    assert len(set(labels)) == len(labels) == 2
    assert all(re.fullmatch(r"tab:[\w:.-]+", label) for label in labels)


UNESCAPED = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    "$-$": "-",
    **{f"\\{sign}": sign for sign in "&%$#_{}"},
}


@given(st.text(st.sampled_from("\\{}&%$#_~^<>ab1-"), max_size=12))
def test_escaping_loses_nothing(text: str) -> None:
    pattern = "|".join(map(re.escape, sorted(UNESCAPED, key=len, reverse=True)))
    assert re.sub(pattern, lambda match: UNESCAPED[match[0]], escaped(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-2.1 [-4, +1]", "$-$2.1 [$-$4, +1]"),
        ("-∞", r"$-$$\infty$"),
        ("layers 10-12", "layers 10-12"),
        ("50 % ± 3", r"50~\% $\pm$ 3"),
        ("× 1.2 “hf” – a\nb", r"$\times$ 1.2 ``hf'' -- a b"),
    ],
)
def test_signs_and_minuses(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_cell_that_begins_with_a_bracket_is_not_an_option_of_the_line_above() -> None:
    grid = ReportTable(
        "x", "", (Column("a"), Column("b", True)), ((Entry("[1]"), Entry("*", note="n")),)
    )
    assert r"    {[1]} & {* n} \\" in latex_table(grid, "")
    assert r"\begin{tabular}{lr}" in latex_table(grid, "")


# --- the data set


@pytest.fixture
def dataset(planted_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_dataset(planted_run, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.slow
def test_datasets_loads_the_folder(planted_run: RunFolder, dataset: Path, tmp_path: Path) -> None:
    import datasets

    def load(*name: str) -> Any:
        return datasets.load_dataset(
            str(dataset), *name, split="train", cache_dir=str(tmp_path / "cache")
        )

    leaderboard = load()
    assert len(leaderboard) == len(analyse(planted_run).rows) == 12
    assert set(leaderboard["verdict"]) >= {"better", "worse", "inconclusive", None}
    rows, cells = load("rows"), load("cells")
    assert rows.data.table.sort_by("cell_id").num_rows == planted_run.read_items().num_rows
    assert rows.column_names == planted_run.read_items().column_names
    assert set(cells["status"]) == {"done"}
    assert datasets.get_dataset_config_names(str(dataset)) == ["leaderboard", "rows", "cells"]


def test_the_card_has_metadata_that_the_hub_reads(dataset: Path) -> None:
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(dataset / "README.md")
    assert card.data.pretty_name == "fake-run: steering results"
    assert card.data.size_categories == ["10K<n<100K"]
    assert "activation-steering" in card.data.tags
    front = (dataset / "README.md").read_text("utf-8").split("---\n")[1]
    configs = yaml.safe_load(front)["configs"]
    assert all((dataset / config["data_files"]).is_file() for config in configs)
    assert [config["config_name"] for config in configs if config.get("default")] == ["leaderboard"]
    assert "| helps layer 14 |" in card.text
    assert sorted(path.name for path in dataset.iterdir()) == [
        "README.md", "cells.parquet", "leaderboard.parquet", "rows.parquet"]  # fmt: skip


@pytest.mark.slow
def test_a_folder_with_anything_in_it_is_left_alone(planted_run: RunFolder, dataset: Path) -> None:
    """Even an older data set: it may be a clone, whose history would go."""
    with pytest.raises(StoreError, match="in the way"):
        write_dataset(planted_run, dataset)


@pytest.mark.slow
def test_the_command(
    odd_run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "report", tmp_path / "data"
    assert main(["report", str(odd_run.path), "--out", str(out), "--dataset", str(data)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / "index.html"), str(data)]
    assert (out / "leaderboard.tex").read_text().startswith("% fake-run")
    assert (out / "leaderboard.md").read_text().startswith("# fake-run")
