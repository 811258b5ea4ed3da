"""Results in an experiment tracker: what it is told, and what happens without it."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import InputError, StoreError
from steereval.harness.cli.main import main
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report.writers.experiment_tracker import TRACKERS, figures, log_results
from steereval.results.report.writers.leaderboard_table import FLAT_SCHEMA
from steereval.results.store.run_folder import RunFolder


@dataclass
class Tracker:
    """As much of wandb and trackio as both have."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    refuses: str = ""

    def init(self, **given: Any) -> None:
        if self.refuses:
            raise ConnectionError(self.refuses)
        self.calls.append(("init", given))

    def log(self, values: dict[str, Any]) -> None:
        self.calls.append(("log", values))

    def finish(self) -> None:
        self.calls.append(("finish", None))

    class Table:
        def __init__(self, dataframe: Any) -> None:
            self.dataframe = dataframe


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    result = Tracker()
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, result)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_receives_the_grid_the_figures_and_the_leaderboard(
    planted_run: RunFolder, tracker: Tracker, tmp_path: Path, name: str
) -> None:
    given = ["report", str(planted_run.path), "--out", str(tmp_path / "r"), "--log", name]
    assert main([*given, "--project", "mine"]) == 0
    (_, begun), (_, logged), (end, _) = tracker.calls
    manifest = planted_run.read_manifest()
    assert (begun["project"], begun["name"], end) == ("mine", "fake-run", "finish")
    assert begun["config"]["versions"] == manifest.versions
    frame = logged.pop("leaderboard").dataframe
    assert list(frame.columns) == FLAT_SCHEMA.names
    assert len(frame) == 12
    assert logged["cells/done"] == 93
    row = next(r for r in analyse(planted_run).rows if r.arm.method == "helps")
    assert row.comparison is not None
    key = "tiny/truth/acc/helps (layer 14)"
    assert logged[f"{key}/difference"] == row.comparison.effect.estimate
    assert logged[f"{key}/p_adjusted"] == row.p_adjusted
    assert all(isinstance(value, float) and math.isfinite(value) for value in logged.values())


def test_names_with_slashes_stay_one_level(planted_run: RunFolder) -> None:
    analysis = analyse(planted_run)
    rows = tuple(replace(row, model="org/model") for row in analysis.rows)
    keys = figures(replace(analysis, rows=rows))
    assert "org_model/truth/acc/none/score" in keys


def test_a_tracker_that_refuses_is_one_sentence(planted_run: RunFolder, tracker: Tracker) -> None:
    tracker.refuses = "no API key\nand much more"
    with pytest.raises(StoreError, match=r"wandb did not take the results: no API key\. Log in"):
        log_results(analyse(planted_run), planted_run.read_manifest(), "wandb", "p")


@pytest.mark.slow
def test_a_tracker_that_is_not_installed_is_named(
    planted_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(InputError, match=r"trackio is not installed.*'steereval\[trackio\]'"):
        log_results(analyse(planted_run), {}, "trackio", "p")
    with pytest.raises(InputError, match=r"unknown tracker 'mlflow'.*wandb, trackio"):
        log_results(analyse(planted_run), {}, "mlflow", "p")


@pytest.mark.slow
def test_no_tracker_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import sys, steereval.harness.cli.index;"
        "import steereval.results.report.writers.experiment_tracker;"
        "print(sorted({'wandb', 'trackio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_wandb_itself_takes_it_offline(
    planted_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_results(analyse(planted_run), planted_run.read_manifest(), "wandb", "p")
    assert list(tmp_path.rglob("leaderboard*.table.json"))
