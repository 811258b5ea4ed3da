"""The tutorial that reads a run: its blocks run from top to bottom and say what they claim."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.harness.cli.main import main
from steereval.results.report import build_report

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "reading-a-run.md"
RUN = FakeRun(
    methods=(
        FakeMethod("caa", (2.0,), lambda task, strength: 0.2, seed_sd=0.02),
        FakeMethod("odesteer", (2.0, 5.0), lambda task, strength: 0.1),
    ),
    tasks=(
        FakeTask("truthful_mini_mc", "mc2", "bounded", n_validation=10, n_test=60, n_clusters=7),
        FakeTask("realtoxicity_mini", "toxicity", "bounded", higher_is_better=False, n_test=20),
    ),
    fit_seeds=(0, 1, 2),
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds runs/quickstart, as the working directory."""
    build_report(write_run(RUN, tmp_path / "runs" / "quickstart"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_run_and_agree_with_one_another(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), names)  # the page's own code
    assert len(names["same"]) == len(names["rows"]) == 10 * 70 + 10 * 80
    (row,) = (
        names["leaderboard"]
        .query("task == 'truthful_mini_mc' and method == 'caa' and primary")
        .to_dict("records")
    )
    effect = names["effect"]
    assert effect.estimate == pytest.approx(row["difference"])
    assert effect.low == pytest.approx(row["difference_low"])
    assert effect.p_value == pytest.approx(row["p_value"])
    assert names["difference"].shape == (60, 3)
    seeds = names["by_seed"].filter(method="caa", strength=2.0)["score"].to_list()
    assert np.mean(seeds) == pytest.approx(row["score"])
    gains = names["improved"].gain.to_list()
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == 10
    assert set(names["said"].method) == {"none", "caa", "odesteer"}
    assert "p = " in capsys.readouterr().out


def test_the_command_lines_run(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == 2
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "steereval"
        assert main(arguments) == 0
    assert "caa,12.0" in capsys.readouterr().out


def test_one_line_readers_of_the_reference_page(there: Path) -> None:
    """`duckdb -c` and `python -c` in docs/run-folder.md."""
    import duckdb

    text = (PAGE.parent / "run-folder.md").read_text("utf-8")
    (sql,) = re.findall(r'^ +duckdb -c "(.*)"$', text, re.M)
    (code,) = re.findall(r'^ +python -c "(.*)"$', text, re.M)
    assert len(duckdb.sql(sql.replace("RUN/", "runs/quickstart/")).fetchall()) == 4
    exec(code.replace("RUN/", "runs/quickstart/"), {})
