"""What was answered, and a run whose process or disk is gone: nothing is lost, and all is told.

Everything goes through the command line and is read from a run's files.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import GEN, MC, ask, grid, run, write_grid
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval_log import item_id, sample, write_log

from steereval.harness.cli.main import main
from steereval.results.store import lease

pytestmark = pytest.mark.slow


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the texts that the model is asked for, call by call."""
    counts: list[int] = []
    generate = HFLM.generate_until

    def counted(self: Any, requests: Any, *rest: Any, **options: Any) -> Any:
        counts.append(len(requests))
        return generate(self, requests, *rest, **options)

    monkeypatch.setattr(HFLM, "generate_until", counted)
    return counts


def missing(doc: Any, texts: Any) -> Any:
    raise ModuleNotFoundError("No module named 'scores'")


def for_one_item(doc: Any, texts: Any) -> Any:
    SCORED.append(doc["question"])
    if doc["question"] == SCORED[0]:
        raise ZeroDivisionError


def out_of_range(doc: Any, texts: Any) -> Any:
    """Scores that are not those of the task, beyond what its metrics can be."""
    return {"bleu_acc": 7.0, "rouge1_acc": 7.0}


SCORED: list[str] = []
"""Questions that `for_one_item` has seen; the first one is its item."""


@pytest.mark.parametrize("fault", [missing, for_one_item, out_of_range])
def test_a_scorer_that_fails_costs_no_answer(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generated: list[int],
    fault: Callable[..., Any],
) -> None:  # fmt: skip
    """Four cells of six items are 24 texts, however often they are scored."""
    given, out = grid(tiny_folder, [1, 2, 3], tasks=[GEN]), tmp_path / "run"
    score = ConfigurableTask.process_results

    def scored(self: Any, doc: Any, texts: Any) -> Any:
        return fault(doc, texts) or score(self, doc, texts)

    with monkeypatch.context() as patch:
        patch.setattr(ConfigurableTask, "process_results", scored)
        for _ in range(2):
            assert run(given, out) == 1
            assert sum(generated) == 24
    assert run(given, out) == 0
    assert sum(generated) == 24
    assert ask(out, "select count(distinct cell_id || item_id) from rows") == [(24,)]


IMPORTED = FakeRun(
    (FakeMethod("helps"),), (FakeTask("truth", n_validation=0, n_test=12, item_id=item_id),),
    fit_seeds=(0,), select=None,
)  # fmt: skip


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_import_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    out = write_run(IMPORTED, tmp_path / "run").path
    samples = [sample(i, {"acc": 1.0}) | {"metrics": ["acc", "acc"]} for i in range(12)]
    log, before = write_log(tmp_path / "log", samples), files_of(out)
    assert main(["import", str(log), "--into", str(out), "--label", "hf"]) != 0
    assert files_of(out) == before


def test_imported_samples_without_a_number_are_sound(tiny_folder: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(grid(tiny_folder, [1]), out) == 0
    values = ask(out, "select item_id, value from rows where metric = 'mc2' and method = 'none'")
    lines = [
        {"doc_id": i, "doc_hash": item.ljust(64, "0"), "filter": "none", "metrics": ["mc2"],
         "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": "A"}}, "resps": [[["-1", "True"]]],
         "mc2": value if i else "not scored"}
        for i, (item, value) in enumerate(values)
    ]  # fmt: skip
    log = tmp_path / "samples_truthful_mini_mc_2026-01-01T00-00-00.1.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["--into", str(out), "--label", "hf", "--model", tiny_folder]
    assert main(["import", str(log), *words]) == 0
    assert main(["verify", str(out)]) == 0


def test_a_cache_on_a_full_disk_does_not_stop_a_fit(
    tiny_folder: str, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEEREVAL_CACHE", str(small_disk))
    (small_disk / "other").write_bytes(bytes(250_000))
    words = ["--method", "caa", "--contrast", "truthful-mini", "--layer", "1"]
    assert main(["fit", "--model", tiny_folder, *words, "--out", str(tmp_path / "steerer")]) == 0
    assert (tmp_path / "steerer/steerer.safetensors").exists()
    assert not list(small_disk.rglob(".tmp-*"))
    assert not list((small_disk / "activations").glob("*"))


PROGRAM = "import sys; from steereval.harness.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def killed(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed while cells were being answered."""
    folder = tmp_path_factory.mktemp("killed")
    long = GEN | {"limit": None, "generation": {"max_gen_toks": 150, "until": []}}
    path = write_grid(grid(tiny_folder, [1, 2, 3, 4], tasks=[MC, long]), folder)
    command = [sys.executable, "-c", PROGRAM, "run", path, "--out", str(folder / "run")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    file, deadline = folder / "run/progress.json", time.monotonic() + 120
    while not (file.exists() and json.loads(file.read_bytes())["running"]):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return folder / "run"


def test_a_killed_run_is_not_running(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(killed)]) == 0
    assert " 0 running" in capsys.readouterr().out


class Clock:
    """Time that passes when someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.8e9 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_run_that_died_elsewhere_is_taken_over(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine's clock was twelve days ahead."""
    out, clock = tmp_path / "run", Clock()
    assert run(grid(tiny_folder, [1]), out) == 0
    sign = {"id": "x", "host": "elsewhere", "pid": 1, "born": 0.0, "seen": clock.time() + 1e6}
    (out / "driver.json").write_text(json.dumps(sign))
    monkeypatch.setattr(lease, "time", clock)
    for _ in range(2):
        status = run(grid(tiny_folder, [1]), out)
        clock.sleep(lease.STALE)
    assert status == 0
