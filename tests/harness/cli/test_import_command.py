"""Plain lm-eval's own samples beside steered cells: the same items, the same differences."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steereval.common.errors import InputError
from steereval.harness.assets import ASSETS
from steereval.harness.cli.main import main
from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.rerun.import_model import model_of
from steereval.harness.rerun.rescore import rescore
from steereval.harness.run.driver import run_grid
from steereval.results.analysis.run_analysis import analyse
from steereval.results.lm_eval.sample_files import SampleFile
from steereval.results.store.manifest import parse_plan
from steereval.results.store.run_folder import RunFolder
from steereval.tasks.catalogue.index import task_folder

TASK = "truthful_mini_mc"
LIMIT = 8


def grid(folder: Path, model: str, layer: int, **changes: Any) -> Grid:
    """Steerers fitted to a few pairs, which takes little time."""
    pairs = [
        {"question": f"Is {n} more than {n - 1}?", "positive": "Yes, it is.", "negative": "No."}
        for n in range(12)
    ]
    contrast = folder / "pairs.jsonl"
    contrast.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    data = {
        "name": "small",
        "models": [{"name": model, "layers": [layer]}],
        "contrast": {"name": str(contrast), "fraction": 0.5},
        "methods": ["none", {"name": "caa", "strengths": [8]}],
        "tasks": [{"name": TASK, "limit": LIMIT}],
        "seeds": {"fit": [0, 1]},
        "select": {"on": "validation"},
    }
    return parse_grid(data | changes)


@pytest.fixture(scope="module")
def logged(smollm2_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples that lm-eval's own command writes, of its own model."""
    out = tmp_path_factory.mktemp("logged")
    arguments = [
        *("--model", "hf", "--model_args", f"pretrained={smollm2_folder},dtype=float32"),
        *("--device", "cpu", "--tasks", TASK, "--include_path", str(task_folder())),
        *("--limit", str(LIMIT), "--log_samples", "--output_path", str(out)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv)
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert main(["lm-eval", *arguments]) == 0
    (samples,) = out.rglob(f"samples_{TASK}_*.jsonl")
    return samples


@pytest.fixture(scope="module")
def run(smollm2_folder: str, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("steered")
    steered = grid(folder, "smollm2-135m", 14)
    assert run_grid(steered, folder / "run", None, lambda line: None).failed == ()
    return RunFolder(folder / "run")


def differences(run: RunFolder) -> dict[tuple[str, str], tuple[float, float, float]]:
    return {
        (row.arm.method, row.metric.name): (effect.estimate, effect.se, effect.p_value)
        for row in analyse(run).rows
        if row.comparison is not None and (effect := row.comparison.effect)
    }


@pytest.mark.slow
def test_lm_evals_own_model_as_the_baseline_gives_the_same_differences(
    run: RunFolder, logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = differences(run)
    given = ["import", str(logged), "--into", str(run.path), "--label", "hf", "--baseline"]
    assert main(given) == 0
    output = capsys.readouterr().out
    assert f"hf: {LIMIT} items of {TASK} pair with the run's\n" in output
    assert "left out" not in output
    assert "other words" not in output
    scores: dict[str, dict[tuple[str, str], float]] = {}
    for row in run.read_items().to_pylist():
        scores.setdefault(row["method"], {})[row["item_id"], row["metric"]] = row["value"]
    assert len(scores["hf"]) == LIMIT * 2
    assert scores["hf"] == pytest.approx(scores["none"], abs=1e-4)
    result = differences(run)
    for metric in ("mc1", "mc2"):
        assert result["caa", metric] == pytest.approx(before["caa", metric], abs=1e-4)
        assert result["none", metric][0] == pytest.approx(0, abs=1e-4)
    assert abs(before["caa", "mc2"][0]) > 1e-3  # there is something that could have differed


@pytest.mark.slow
def test_a_resumed_run_keeps_what_was_imported(tiny_folder: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run_grid(grid(tmp_path, tiny_folder, 1), run.path, None, lambda line: None)
    values = {row["item_id"]: row["value"] for row in run.read_items().to_pylist()
           if (row["method"], row["metric"]) == ("none", "mc2")}  # fmt: skip
    lines = [
        {"doc_id": i, "doc_hash": item.ljust(64, "0"), "filter": "none", "metrics": ["mc2"],
         "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": "A"}}, "resps": [[["-1", "True"]]],
         "mc2": value}
        for i, (item, value) in enumerate(values.items())
    ]  # fmt: skip
    samples = tmp_path / f"samples_{TASK}_2026-01-01T00-00-00.1.jsonl"
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = ["import", str(samples), "--into", str(run.path), "--label", "kept", "--baseline"]
    assert main([*given, "--model", tiny_folder]) == 0
    more = ["none", *({"name": name, "strengths": [8]} for name in ("caa", "repe"))]
    larger = grid(tmp_path, tiny_folder, 1, methods=more)
    assert run_grid(larger, run.path, None, lambda line: None).failed == ()
    plan = parse_plan(run.read_manifest())
    assert (plan.imported, plan.baseline) == ({"kept"}, "kept")
    compared = {row.arm.method for row in analyse(run).rows if row.comparison is not None}
    assert compared == {"none", "caa", "repe"}
    again, said = RunFolder(tmp_path / "again"), list[str]()
    rescore(run, again, {}, None, said.append)
    assert any(line.startswith("kept was imported") for line in said)
    assert parse_plan(again.read_manifest()).baseline == "none"


def test_a_model_is_known_by_its_name_or_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smollm2_folder = str(ASSETS["smollm2-135m"].folder)

    def file(model: str | None) -> SampleFile:
        return SampleFile(Path("s"), TASK, "", (), {"model_name": model} if model else {})

    def plan(*models: str) -> Any:
        cells = [SimpleNamespace(model=model) for model in models]
        return type("Plan", (), {"cells": cells})

    both = plan("gpt2", "smollm2-135m")
    assert model_of([file("gpt2")], both, None) == "gpt2"
    assert model_of([file(smollm2_folder)], both, None) == "smollm2-135m"
    monkeypatch.chdir(tmp_path)
    assert model_of([file("here")], plan(str(tmp_path / "here")), None) == str(tmp_path / "here")
    with pytest.raises(InputError, match=r"ran gpt2-xl, and the run has gpt2.*--model"):
        model_of([file("gpt2-xl")], plan("gpt2"), None)
    with pytest.raises(InputError, match="no results file"):
        model_of([file(None)], plan("gpt2"), None)
    with pytest.raises(InputError, match="ran gpt2, other"):
        model_of([file("gpt2"), file("other")], plan("gpt2"), None)
    assert model_of([file(None)], plan("gpt2"), "gpt2") == "gpt2"


def test_a_bad_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["import", "x.jsonl", "--into", str(tmp_path), "--label", "hf"]
    assert main(given) == 1
    assert "no manifest.json" in capsys.readouterr().err
