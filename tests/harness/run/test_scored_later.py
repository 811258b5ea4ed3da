"""What was answered is not answered again: its scoring fails, is cut off, and is done later."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from small_grid import same_tables

from steereval.common.errors import ScoringError
from steereval.harness.config.grid import Grid, parse_grid, plain
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.planning.groups import groups
from steereval.harness.planning.plan import make_plan
from steereval.harness.rerun.rescore import rescore
from steereval.harness.run import worker
from steereval.harness.run.driver import run_grid
from steereval.harness.run.worker import CellWorker
from steereval.results.store.answers import ANSWER_SCHEMA, FOLDER, AnswerRecord, AnswerStore
from steereval.results.store.cell_record import Timings
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage
from steereval.tasks.catalogue import cards

pytestmark = pytest.mark.slow

SAMPLED = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 6, "until": []}
GEN = {"name": "truthful_mini_gen", "limit": 6, "generation": SAMPLED}
MC = {"name": "truthful_mini_mc", "limit": 6}


def grid(model: str, *tasks: dict[str, Any], **changes: Any) -> Grid:
    """Four cells of each task."""
    data: dict[str, Any] = {
        "name": "later",
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best"},
        "methods": ["none", {"name": "caa", "strengths": [1, 2, 3]}],
        "tasks": list(tasks),
        "select": {"on": "validation"},
    }
    return parse_grid(data | changes)


def start(some: Grid, out: Path) -> tuple[str, ...]:
    return run_grid(some, out, None, lambda _: None).failed


@pytest.fixture
def model_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Kind and number of rows of everything that a model answers."""
    result: list[tuple[str, int]] = []
    answer = SteeredLM.answer

    def counted(self: SteeredLM, kind: str, requests: Any, treatments: Any, *rest: Any) -> Any:
        answers = answer(self, kind, requests, treatments, *rest)
        result.append((kind, len(requests) * len(treatments)))
        return answers

    monkeypatch.setattr(SteeredLM, "answer", counted)
    return result


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forbids models from when it is called."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    def forbid() -> None:
        monkeypatch.setattr(worker, "load_model", never)
        monkeypatch.setattr(SteeredLM, "__init__", never)

    return forbid


Change = Callable[[Any], None]


def changed_tasks(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Let `change` act on every task that is loaded."""
    load = cards.load_tasks

    def loaded(*given: Any) -> dict[str, Any]:
        tasks = load(*given)
        for task in tasks.values():
            change(task)
        return tasks

    monkeypatch.setattr("steereval.harness.planning.task_resources.load_tasks", loaded)


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """While it holds `broken`, no task can import what it scores with."""
    state: set[str] = {"broken"}

    def change(task: Any) -> None:
        score = task.process_results

        def scored(doc: Any, texts: Any) -> Any:
            if "broken" in state:
                raise ModuleNotFoundError("No module named 'scores'")
            return score(doc, texts)

        task.process_results = scored

    changed_tasks(monkeypatch, change)
    return state


@pytest.fixture(scope="module")
def quiet(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of both tasks that nothing happens to."""
    out = tmp_path_factory.mktemp("quiet") / "run"
    assert start(grid(tiny_folder, GEN, MC), out) == ()
    assert not list((out / FOLDER).iterdir())
    return out


def same_records(one: Path, other: Path) -> None:
    """All that the records say is equal, times aside."""
    result = []
    for out in (one, other):
        records = RunFolder(out).records()
        result.append(
            {
                id: (record.timings.tokens, record.model_copy(update={"timings": Timings()}))
                for id, record in records.items()
            }
        )
    assert result[0] == result[1]


def test_a_broken_scorer_costs_no_answer(
    tiny_folder: str,
    tmp_path: Path,
    model_calls: list[tuple[str, int]],
    scorer: set[str],
    no_model: Callable[[], None],
    quiet: Path,
) -> None:
    """Of four cells of six items 24 texts are generated, where it were 144 and again 24."""
    both, out = grid(tiny_folder, GEN, MC), tmp_path / "run"
    assert len(start(both, out)) == 8
    assert sum(rows for kind, rows in model_calls if kind == "generate_until") == 24
    assert len(model_calls) == len(groups(make_plan(both))) == 2
    records = RunFolder(out).records().values()
    assert {record.error.type for record in records} == {ScoringError.__name__}
    assert all("ModuleNotFoundError" in record.error.message for record in records)
    assert RunFolder(out).finished() == set()
    scorer.clear()
    no_model()
    assert start(both, out) == ()
    assert len(model_calls) == 2
    same_tables(out, quiet)
    same_records(out, quiet)
    assert not list((out / FOLDER).iterdir())


def test_rescore_scores_what_could_not_be_scored(
    tiny_folder: str,
    tmp_path: Path,
    scorer: set[str],
    no_model: Callable[[], None],
    quiet: Path,
) -> None:
    out = tmp_path / "run"
    start(grid(tiny_folder, GEN, MC), out)
    no_model()
    failing, mended = RunFolder(tmp_path / "failing"), RunFolder(tmp_path / "mended")
    assert rescore(RunFolder(out), failing, {}, None, lambda _: None) == 0
    assert {record.error.type for record in failing.records().values()} == {"ScoringError"}
    scorer.clear()
    assert rescore(RunFolder(out), mended, {}, None, lambda _: None) == 8
    same_tables(mended.path, quiet)


def test_an_error_of_the_scoring_fails_one_cell(
    tiny_folder: str,
    tmp_path: Path,
    model_calls: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some, out = grid(tiny_folder, GEN), tmp_path / "run"
    bad = make_plan(some)[2].id
    responses = worker.tables_of.__globals__["response_rows"]

    def broken(cell_id: str, *rest: Any) -> Any:
        if cell_id == bad:
            raise ZeroDivisionError
        return responses(cell_id, *rest)

    monkeypatch.setattr("steereval.harness.run.scoring.response_rows", broken)
    assert len(start(some, out)) == 1
    assert RunFolder(out).finished() == {cell.id for cell in make_plan(some)} - {bad}
    assert AnswerStore(LocalStorage(out)).cells() >= {bad}
    monkeypatch.setattr("steereval.harness.run.scoring.response_rows", responses)
    assert start(some, out) == ()
    assert model_calls == [("generate_until", 24)]


@pytest.mark.parametrize("moment", ["_read_texts", "_store"])
def test_cut_off_between_answering_and_scoring(
    tiny_folder: str,
    tmp_path: Path,
    model_calls: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    quiet: Path,
    moment: str,
) -> None:
    """Also before the texts were read for their perplexity, which needs the model then."""
    both, out = grid(tiny_folder, GEN, MC), tmp_path / "run"
    usual = getattr(CellWorker, moment)

    def cut(self: CellWorker, answered: Any, *rest: Any) -> None:
        if answered.pages:
            raise KeyboardInterrupt
        usual(self, answered, *rest)

    monkeypatch.setattr(CellWorker, moment, cut)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            start(both, out)
    monkeypatch.setattr(CellWorker, moment, usual)
    assert start(both, out) == ()
    assert sorted(kind for kind, _ in model_calls) == ["generate_until", "loglikelihood"]
    same_tables(out, quiet)
    same_records(out, quiet)


KILLING = """
import os, signal
replace = os.replace
def deadly(source, target, **kwargs):
    replace(source, target, **kwargs)
    if "/answers/" in str(target) and str(target).endswith(".json"):
        folder = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(folder, "kept"), "a") as file:
            file.write(os.path.basename(str(target)) + "\\n")
        try:
            os.remove(os.path.join(folder, "deadly"))
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = deadly
"""
"""Put before the program in Python's path: a process dies as soon as it has kept its answers."""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "deadly"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILLING)
    (folder / "deadly").touch()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.mark.chaos
def test_killed_between_answering_and_scoring(
    tiny_folder: str, tmp_path: Path, deadly: Path, no_model: Callable[[], None], quiet: Path
) -> None:
    some, out = grid(tiny_folder, MC), tmp_path / "run"
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(plain(some)))))
    command = [sys.executable, "-m", "steereval", "run", str(tmp_path / "grid.yaml")]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [*command, "--out", str(out), "--no-report"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert RunFolder(out).records() == {}
    no_model()
    assert start(some, out) == ()
    wanted = {cell.id for cell in make_plan(some)}
    assert RunFolder(out).finished() == wanted
    for cell in wanted:
        assert [table.to_pylist() for table in RunFolder(out).read_cell(cell)] == [
            table.to_pylist() for table in RunFolder(quiet).read_cell(cell)
        ]


@pytest.mark.chaos
def test_a_worker_on_ray_that_dies_between_answering_and_scoring(
    tiny_folder: str, tmp_path: Path, deadly: Path, quiet: Path
) -> None:
    """Another one scores what it has kept; each group is answered once."""
    both, out = grid(tiny_folder, GEN, MC), tmp_path / "run"
    two = dataclasses.replace(both, run=dataclasses.replace(both.run, workers=2))
    assert start(two, out) == ()
    assert not (deadly / "deadly").exists()
    lines = (deadly / "kept").read_text().split()
    # Texts are kept twice: as they are, and with their log-likelihoods.
    assert sorted(map(lines.count, set(lines))) == [1, 2]
    same_tables(out, quiet)


def test_texts_that_do_not_fit_in_memory_are_not_generated_again(
    tiny_folder: str,
    tmp_path: Path,
    model_calls: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading them runs out of memory for the whole group, and not for its halves."""
    read, sizes = SteeredLM.unsteered_likelihoods, []

    def little(self: SteeredLM, texts: Any) -> Any:
        sizes.append(len(texts))
        if len(texts) > 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(self, texts)

    monkeypatch.setattr(SteeredLM, "unsteered_likelihoods", little)
    out = tmp_path / "run"
    assert start(grid(tiny_folder, GEN), out) == ()
    assert sizes == [24, 12, 12]
    assert model_calls == [("generate_until", 24)]
    assert not list((out / FOLDER).iterdir())


def two_kinds(task: Any) -> None:
    """Let a task ask for likelihoods, and for a text that it does not score."""
    construct, score = task.construct_requests, task.process_results

    def requests(doc: Any, ctx: str, **options: Any) -> list[Instance]:
        instances = construct(doc, ctx, **options)
        generation = {"until": ["\n"], "max_gen_toks": 4}
        text = dataclasses.replace(
            instances[0],
            request_type="generate_until",
            arguments=(ctx, generation),
            idx=len(instances),
        )
        return [*instances, text]

    task.construct_requests = requests
    task.process_results = lambda doc, answers: score(doc, answers[:-1])


def test_a_task_that_asks_twice_continues_where_it_stopped(
    tiny_folder: str,
    tmp_path: Path,
    model_calls: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The likelihoods are kept when the texts fail, and are there for the halves and the retry."""
    changed_tasks(monkeypatch, two_kinds)
    some, whole, out = grid(tiny_folder, MC), tmp_path / "whole", tmp_path / "run"
    assert start(some, whole) == ()
    assert [kind for kind, _ in model_calls] == ["loglikelihood", "generate_until"]
    model_calls.clear()
    generate = SteeredLM.generate_until
    calls: list[int] = []

    def failing(self: SteeredLM, *_: Any) -> Any:
        calls.append(1)
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(HFLM, "generate_until", failing)
    assert len(start(some, out)) == 4
    monkeypatch.undo()
    changed_tasks(monkeypatch, two_kinds)
    assert len(calls) == 14, "the group, its halves and its cells, by two workers"
    assert [kind for kind, _ in model_calls] == ["loglikelihood"]
    assert generate is SteeredLM.generate_until
    assert start(some, out) == ()
    same_tables(out, whole)


def several(task: Any) -> None:
    """Let a task draw two answers to each request, and read them through two filters."""
    task.set_config(key="repeats", value=2)
    second = dataclasses.replace(task._filters[0], name="second")
    task._filters.append(second)


def test_repeats_and_filters(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_tasks(monkeypatch, several)
    some, whole, out = grid(tiny_folder, GEN), tmp_path / "whole", tmp_path / "run"
    assert start(some, whole) == ()
    metrics = set(RunFolder(whole).read_items()["metric"].to_pylist())
    assert any(name.endswith(":second") for name in metrics)
    responses = RunFolder(whole).read_responses()
    assert responses.num_rows == 24
    monkeypatch.setattr(CellWorker, "_store", lambda *_: None)
    start(some, out)
    (table,) = [AnswerStore(LocalStorage(out)).read(name)[1] for name in records(out)]
    assert table.num_rows == 12, "two answers of each of six items"
    texts = table["texts"].to_pylist()
    assert any(texts[place] != texts[place + 1] for place in range(0, 12, 2))
    monkeypatch.undo()
    changed_tasks(monkeypatch, several)
    assert start(some, out) == ()
    same_tables(out, whole)


def records(out: Path) -> dict[str, dict[str, Any]]:
    return AnswerStore(LocalStorage(out)).records()


@pytest.fixture
def answered(tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of four cells that are answered and not scored."""
    monkeypatch.setattr(CellWorker, "_store", lambda *_: None)
    start(grid(tiny_folder, GEN), tmp_path / "run")
    monkeypatch.undo()
    return tmp_path / "run"


def test_damaged_answers_are_not_used(
    tiny_folder: str, answered: Path, model_calls: list[tuple[str, int]]
) -> None:
    (table,) = (answered / FOLDER).glob("*.parquet")
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)
    assert start(grid(tiny_folder, GEN), answered) == ()
    assert model_calls == [("generate_until", 24)]


def test_answers_to_other_prompts_are_not_used(
    tiny_folder: str,
    answered: Path,
    model_calls: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor answers to the same prompts of other documents."""

    def change(task: Any) -> None:
        text = task.doc_to_text
        task.doc_to_text = lambda doc, *rest: "Think. " + text(doc, *rest)

    changed_tasks(monkeypatch, change)
    assert start(grid(tiny_folder, GEN), answered) == ()
    assert model_calls == [("generate_until", 24)]
    prompts = RunFolder(answered).read_responses()["prompt"].to_pylist()
    assert all(prompt.startswith("Think. ") for prompt in prompts)
    assert not list((answered / FOLDER).iterdir())


def test_a_larger_grid_takes_what_is_kept(
    tiny_folder: str, answered: Path, model_calls: list[tuple[str, int]]
) -> None:
    methods = ["none", {"name": "caa", "strengths": [1, 2, 3, 4]}]
    assert start(grid(tiny_folder, GEN, methods=methods), answered) == ()
    assert model_calls == [("generate_until", 6)]


def test_kept_answers_without_a_model_for_chats(
    smollm2_folder: str, tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chats were laid out by the tokenizer; their texts are kept with the answers."""
    model = [{"name": tiny_folder, "layers": [1], "chat_template": True}]
    some, whole, out = grid(tiny_folder, GEN, models=model), tmp_path / "whole", tmp_path / "run"
    assert start(some, whole) == ()
    prompts = RunFolder(whole).read_responses()["prompt"].to_pylist()
    assert all("<|im_start|>" in prompt for prompt in prompts)
    monkeypatch.setattr(CellWorker, "_store", lambda *_: None)
    start(some, out)
    monkeypatch.undo()
    monkeypatch.setattr(worker, "load_model", None)
    assert start(some, out) == ()
    same_tables(out, whole)


def test_a_table_counts_once_its_record_stands(tmp_path: Path) -> None:
    """Of two writers, and of one that was killed, one whole set of answers is there."""
    store = AnswerStore(LocalStorage(tmp_path))
    row = {"task": "t", "kind": "loglikelihood_rolling", "key": "k", "prompt": "p"}
    tables = [
        pa.Table.from_pylist([row | {"log_likelihoods": [value]}], schema=ANSWER_SCHEMA)
        for value in (0.1, 0.2)
    ]
    store.write("g", tables[0], AnswerRecord(cells=["a", "b"]))
    (tmp_path / FOLDER / "h-0.parquet").write_bytes(b"half")
    store.write("g", tables[1], AnswerRecord(cells=["a", "b"]))
    record, table = store.read("g")
    assert record.cells == ["a", "b"]
    assert table["log_likelihoods"].to_pylist() == [[0.2]]
    store.tidy({"a"})
    assert store.cells() == {"a", "b"}
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
    store.tidy({"a", "b"})
    assert list((tmp_path / FOLDER).iterdir()) == []
