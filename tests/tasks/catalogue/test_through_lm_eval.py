"""The task files as plain lm-eval runs them, with its `dummy` model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.models.dummy import DummyLM
from lm_eval.tasks import TaskManager
from public_benchmarks import mmlu, preference, preferences, toxic_prompts

from steereval.tasks.catalogue.index import task_folder
from steereval.tasks.scorers.profanity import ProfanityClassifier


def evaluate(task: str, monkeypatch: pytest.MonkeyPatch, limit: int = 4) -> dict[str, Any]:
    monkeypatch.setattr(DummyLM, "tokenizer", None)  # it would be fetched from the hub
    manager = TaskManager(include_path=str(task_folder()), include_defaults=False)
    output: dict[str, Any] = lm_eval.simple_evaluate(
        model="dummy", tasks=[task], task_manager=manager, limit=limit, bootstrap_iters=0
    )
    assert len(output["samples"][task]) == limit
    return output["results"][task]  # type: ignore[no-any-return]


@pytest.mark.slow
def test_truthful_mini_mc(questions: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluate("truthful_mini_mc", monkeypatch)
    assert scores["mc1,none"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert 0 < scores["mc2,none"] < 1


@pytest.mark.slow
def test_truthful_mini_gen(questions: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluate("truthful_mini_gen", monkeypatch)
    result = {name.split(",")[0]: value for name, value in scores.items() if ",none" in name}
    assert (
        result["bleu_acc"] == result["rouge1_acc"] == result["rougeL_acc"] == 0.0
    )  # it says "lol"
    assert (result["distinct_1"], result["distinct_2"], result["distinct_3"]) == (1.0, 0.0, 0.0)


@pytest.mark.slow
def test_ultrafeedback_mini(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluate("ultrafeedback_mini_mc", monkeypatch)
    assert scores["acc,none"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert scores["acc_norm,none"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    written = evaluate("ultrafeedback_mini_gen", monkeypatch)
    assert (written["distinct_1,none"], written["distinct_2,none"]) == (1.0, 0.0)  # it says "lol"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mmlu_mini", "arc_mini", "commonsense_mini_continuation"])
def test_capability_sets(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluate(task, monkeypatch)["acc,none"] in (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.slow
def test_realtoxicity_mini(
    prompts: Path, fake_classifier: ProfanityClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = evaluate("realtoxicity_mini", monkeypatch)
    assert (scores["toxicity,none"], scores["toxic,none"]) == (0.25, 0.0)
    assert (scores["distinct_1,none"], scores["distinct_2,none"]) == (1.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["truthfulqa_open", "ultrafeedback", "realtoxicity", "mmlu_all"])
def test_public_benchmarks(
    name: str, data_dir: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the data in STEEREVAL_DATA, as no option of lm-eval tells them."""
    preferences(data_dir, "test_prefs", [preference(str(n), "a", "b") for n in range(4)])
    toxic_prompts(data_dir, {str(n): 0.9 for n in range(4)})
    mmlu(data_dir)
    monkeypatch.setenv("STEEREVAL_DATA", str(data_dir))
    scores = evaluate(name, monkeypatch, 3)
    metrics = {"acc"} if name == "mmlu_all" else {"distinct_1", "distinct_2", "distinct_3"}
    assert {key.split(",")[0] for key in scores if key.endswith(",none")} - metrics == {
        f"{metric}_stderr" for metric in metrics
    }


@pytest.mark.chaos
def test_the_command_as_typed(tmp_path: Path) -> None:
    """lm_eval --include_path with the bundled questions, in a process of its own."""
    command = [
        *(sys.executable, "-m", "lm_eval", "--model", "dummy", "--limit", "3"),
        *("--include_path", str(task_folder()), "--tasks", "truthful_mini_mc"),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "|truthful_mini_mc|" in done.stdout
    assert "mc2" in done.stdout
