"""Items whose requests cannot be given to the model: they alone are lost, and they are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from steereval.harness.cli.main import main
from steereval.harness.config.grid import load_grid
from steereval.harness.config.included import with_members
from steereval.harness.rerun.rescore import rescore
from steereval.harness.run import worker
from steereval.harness.run.driver import Summary, run_grid
from steereval.results.analysis.run_analysis import analyse
from steereval.results.store.answers import AnswerStore
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage

CHOOSING = """\
task: choosing
dataset_path: json
dataset_kwargs: {data_files: {test: choosing.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "Q: {{question}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
WRITING = """\
task: writing
dataset_path: json
dataset_kwargs: {data_files: {test: writing.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 3, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
GOOD: dict[str, list[dict[str, Any]]] = {
    "choosing": [
        {"question": f"number {n}?", "choices": [" yes", " no"], "answer": n % 2} for n in range(6)
    ],
    "writing": [{"question": f"say {n}", "answer": "x"} for n in range(5)],
}
BAD: dict[str, list[dict[str, Any]]] = {
    "choosing": [{"question": "silence?", "choices": [" yes", ""], "answer": 0}],
    "writing": [{"question": "", "answer": "x"}],
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))


def run(model: str, folder: Path, task: str, documents: list[dict[str, Any]]) -> Summary:
    """A run of `task` in folder/run."""
    tasks = folder / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    (tasks / f"{task}.yaml").write_text({"choosing": CHOOSING, "writing": WRITING}[task])
    (tasks / f"{task}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
    grid = {
        "name": "lost",
        "include_path": str(tasks),
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
        "methods": ["none", {"name": "caa", "strengths": [4]}],
        "tasks": [task],
    }
    (folder / "grid.yaml").write_text(json.dumps(grid))
    read = with_members(load_grid(folder / "grid.yaml"))
    return run_grid(read, folder / "run", None, lambda line: None)


def scores(out: Path) -> dict[tuple[str, str, str], float]:
    rows = RunFolder(out).read_items().to_pylist()
    return {(row["method"], row["item_id"], row["metric"]): row["value"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["choosing", "writing"])
def test_only_the_item_is_lost(tiny_folder: str, tmp_path: Path, task: str) -> None:
    """The other items have the rows that a task without the item gives them."""
    good, bad = GOOD[task], BAD[task]
    summary = run(tiny_folder, tmp_path / "with", task, [*good[:2], *bad, *good[2:]])
    assert summary.failed == ()
    run(tiny_folder, tmp_path / "without", task, good)
    folder = RunFolder(tmp_path / "with" / "run")
    assert scores(folder.path) == pytest.approx(scores(tmp_path / "without" / "run"), abs=1e-4)
    records = folder.records().values()
    assert {len(record.lost) for record in records} == {1}
    assert {record.counts.items for record in records if record.counts} == {len(good)}
    (sentence,) = summary.lost
    assert sentence in analyse(folder).notes
    lost_items = {item for record in records for item in record.lost}
    assert not lost_items & {row["item_id"] for row in folder.read_responses().to_pylist()}
    assert main(["verify", str(folder.path), "--cells", "2"]) == 0


@pytest.mark.slow
def test_a_second_start_computes_nothing(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny_folder, tmp_path, "choosing", [*GOOD["choosing"], *BAD["choosing"]])
    monkeypatch.setattr(worker, "load_model", None)
    again = run(tiny_folder, tmp_path, "choosing", [*GOOD["choosing"], *BAD["choosing"]])
    assert again.reused == again.planned
    assert len(again.lost) == 1


@pytest.mark.slow
def test_stored_answers_know_what_is_lost(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that could not score its answers."""
    documents = [*GOOD["choosing"], *BAD["choosing"]]
    monkeypatch.setattr(worker, "tables_of", None)
    run(tiny_folder, tmp_path, "choosing", documents)
    (record,) = AnswerStore(LocalStorage(tmp_path / "run")).records().values()
    assert len(record.lost["choosing"]) == 1
    monkeypatch.undo()
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(worker, "load_model", None)
    summary = run(tiny_folder, tmp_path, "choosing", documents)
    assert (summary.failed, len(summary.lost)) == ((), 1)


@pytest.mark.slow
def test_scoring_again_leaves_it_lost(tiny_folder: str, tmp_path: Path) -> None:
    run(tiny_folder, tmp_path, "choosing", [*GOOD["choosing"], *BAD["choosing"]])
    source, target = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "again")
    assert rescore(source, target, {}, None, lambda line: None) == 2
    assert scores(target.path) == scores(source.path)
    assert all(len(record.lost) == 1 for record in target.records().values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "document", "named"),
    [
        ("choosing", {"question": "x?", "choices": [" yes", " no" * 9999], "answer": 0}, "9999"),
        ("writing", BAD["writing"][0], "no tokens"),
    ],
)
def test_a_task_of_lost_items_alone_fails_with_the_reason(
    tiny_folder: str, tmp_path: Path, task: str, document: dict[str, Any], named: str
) -> None:
    summary = run(tiny_folder, tmp_path, task, [document])
    assert len(summary.failed) == 2
    assert all(named in failure for failure in summary.failed)
