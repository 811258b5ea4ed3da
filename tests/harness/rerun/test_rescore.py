"""A finished run scored again: the same scores from the same task, others from another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import CellError, InputError
from steereval.harness.cli.main import main
from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.rerun.rescore import rescore
from steereval.harness.run.driver import run_grid
from steereval.results.store.run_folder import RunFolder
from steereval.tasks.catalogue import cards


def grid(model: str) -> Grid:
    return parse_grid(
        {
            "name": "small",
            "models": [{"name": model, "layers": [1]}],
            "contrast": {"name": "truthful-mini", "answers": "best"},
            "methods": ["none", {"name": "caa", "strengths": [1, 3]}],
            "tasks": [{"name": n, "limit": 4} for n in ("truthful_mini_mc", "truthful_mini_gen")],
            "select": {"on": "validation"},
        }
    )


def rows(out: Path) -> list[dict[str, Any]]:
    order = [(name, "ascending") for name in ("cell_id", "item_id", "metric")]
    items: list[dict[str, Any]] = RunFolder(out).read_items().sort_by(order).to_pylist()
    return items


@pytest.fixture(scope="module")
def finished(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rescore") / "run"
    assert run_grid(grid(tiny_folder), out, None, lambda line: None).failed == ()
    return out


@pytest.mark.slow
def test_the_same_task_gives_the_same_rows(finished: Path, tmp_path: Path, no_model: Any) -> None:
    """Perplexities, splits and folds too; and no model is loaded."""
    out = tmp_path / "again"
    assert rescore(RunFolder(finished), RunFolder(out), {}, None, lambda line: None) == 6
    assert rows(out) == rows(finished)
    assert RunFolder(out).read_manifest().rescored["lm_eval"]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("steereval.harness.run.worker.load_model", never)
    monkeypatch.setattr("steereval.harness.engine.steered_lm.SteeredLM.__init__", never)


@pytest.mark.slow
def test_another_way_of_scoring(
    finished: Path, tmp_path: Path, no_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task's own metrics, made to say whether the answer has an odd number of characters."""
    load = cards.load_tasks

    def loaded(*given: Any) -> dict[str, Any]:
        tasks = load(*given)
        task = tasks.get("truthful_mini_gen")
        if task is not None:
            score = task.process_results
            task.process_results = lambda doc, texts: dict.fromkeys(
                score(doc, texts), len(texts[0]) % 2
            )
        return tasks

    monkeypatch.setattr("steereval.harness.planning.task_resources.load_tasks", loaded)
    out = tmp_path / "odd"
    rescore(RunFolder(finished), RunFolder(out), {}, None, lambda line: None)
    odd = {
        (row["cell_id"], row["item_id"]): row["value"]
        for row in rows(out)
        if row["task"] == "truthful_mini_gen" and row["metric"] != "perplexity"
    }
    responses = RunFolder(finished).read_responses().to_pylist()
    assert odd == {
        (row["cell_id"], row["item_id"]): len(row["continuation"]) % 2
        for row in responses
        if row["kind"] == "generation"
    }


@pytest.mark.slow
def test_missing_parts_of_a_run_are_reported(finished: Path, tmp_path: Path) -> None:
    run, new = RunFolder(finished), RunFolder(tmp_path / "new")
    with pytest.raises(InputError, match=r"truthful_mini_mx.*truthful_mini_mc"):
        rescore(run, new, {"truthful_mini_mx": "truthful_mini_gen"}, None, lambda line: None)
    with pytest.raises(InputError, match="exists already"):
        rescore(run, run, {}, None, lambda line: None)
    swapped = {"truthful_mini_mc": "truthful_mini_gen", "truthful_mini_gen": "truthful_mini_mc"}
    with pytest.raises(CellError, match=r"holds no (generation|loglikelihood)"):
        rescore(run, new, swapped, None, lambda line: None)


@pytest.mark.slow
def test_the_command(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "again"
    assert main(["rescore", str(finished), "--out", str(out)]) == 0
    assert Path(capsys.readouterr().out.strip()).exists()
    assert main(["rescore", str(finished), "--out", str(tmp_path / "b"), "--task", "x"]) == 2
    assert "Write TASK=OTHER_TASK" in capsys.readouterr().err
