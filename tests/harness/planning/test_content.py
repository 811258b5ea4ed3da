"""A run is computed from one content of everything that its numbers depend on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from changing_content import offline_hub, reweigh, write_truthfulqa

from steereval.common.errors import InputError, StoreError
from steereval.common.folders import CONTENTS
from steereval.harness.config.grid import ModelSpec, parse_grid
from steereval.harness.engine.loading import WorkerSettings
from steereval.harness.judging.cache import JudgeCache
from steereval.harness.planning import plan
from steereval.harness.planning.content import content_of_task
from steereval.harness.planning.model_content import COMMIT, content_at, content_of_model, kind_of
from steereval.harness.planning.task_resources import configured
from steereval.harness.rerun import verify
from steereval.harness.rerun.verify import check_grid
from steereval.harness.run import worker
from steereval.harness.run.driver import Summary, run_grid
from steereval.harness.run.worker import CellWorker
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import build_report
from steereval.results.store.query import query
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification.cells import check_cells

pytestmark = pytest.mark.slow

TASKS = [{"name": "truthful_mini_mc", "limit": 3}]


def grid(model: str, strengths: list[float], **changes: Any) -> Any:
    data: dict[str, Any] = {
        "name": "g",
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.1},
        "methods": ["none", {"name": "caa", "strengths": strengths}],
        "tasks": TASKS,
    }
    return parse_grid(data | changes)


def start(given: Any, out: Path, data_dir: Path | None = None) -> Summary:
    return run_grid(given, out, data_dir, lambda line: None)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Put back the file at `path` afterwards."""
    before = path.read_bytes() if path.exists() else None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)


def likelihoods(out: Path) -> dict[str, list[float]]:
    result: dict[str, list[float]] = {}
    for row in RunFolder(out).read_responses().to_pylist():
        result.setdefault(row["cell_id"], []).append(row["log_likelihood"])
    return result


@pytest.fixture(scope="module")
def model(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with an adapter beside it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("content")
    shutil.copytree(tiny_folder, folder / "model")
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(str(folder / "adapter"))
    return folder / "model"


@pytest.fixture(scope="module")
def adapted(model: Path) -> list[dict[str, Any]]:
    adapter = str(model.with_name("adapter"))
    return [{"name": str(model), "layers": [1], "peft": adapter, "chat_template": True}]


@pytest.fixture(scope="module")
def finished(model: Path, adapted: list[dict[str, Any]]) -> Path:
    out = model.with_name("run")
    assert start(grid(str(model), [1], models=adapted), out).failed == ()
    return out


@pytest.mark.slow
def test_weights_that_are_replaced(tiny_folder: str, tmp_path: Path) -> None:
    """The scenario as it was reported: one more strength, after other weights were written."""
    folder, out = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_folder, folder)
    assert start(grid(str(folder), [1]), out).failed == ()
    before = likelihoods(out)
    with restored(folder / "model.safetensors"):
        reweigh(folder, 1.5)
        with pytest.raises(InputError) as refused:
            start(grid(str(folder), [1, 2]), out)
        assert all(word in str(refused.value) for word in (str(folder), "model.safetensors"))
        assert likelihoods(out) == before
        assert start(grid(str(folder), [1, 2]), tmp_path / "other").failed == ()
        others = likelihoods(tmp_path / "other")
        assert all(others[cell] != values for cell, values in before.items())
    assert start(grid(str(folder), [1, 2]), out).reused == 2
    assert len(likelihoods(out)) == 3


@pytest.mark.slow
def test_kept_answers_of_other_weights_are_not_scored(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer that fails leaves answers, and no finished cell that a new start compares."""
    folder, out = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_folder, folder)

    def broken(*_: Any) -> Any:
        raise ImportError("no such package")

    with monkeypatch.context() as patched:
        patched.setattr("steereval.harness.run.scoring._tables", broken)
        assert len(start(grid(str(folder), [1]), out).failed) == 2
    assert list((out / "answers").glob("*.json"))
    reweigh(folder, 1.5)
    assert start(grid(str(folder), [1]), out).failed == ()
    assert start(grid(str(folder), [1]), tmp_path / "fresh").failed == ()
    assert likelihoods(out) == likelihoods(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.safetensors", "weights"),
        ("tokenizer.json", "tokenizer"),
        ("tokenizer_config.json", "tokenizer"),
        ("chat_template.jinja", "chat template"),
        ("generation_config.json", "generation defaults"),
        ("config.json", "configuration"),
        ("../adapter/adapter_model.safetensors", "adapter"),
        ("../adapter/adapter_config.json", "adapter"),
    ],
)
def test_every_file_of_a_model(
    model: Path, adapted: list[dict[str, Any]], finished: Path, name: str, kind: str
) -> None:
    """Also one of the same size that has its old time of modification."""
    file = model / name
    data, times = file.read_bytes(), file.stat()
    with restored(file):
        if file.suffix == ".safetensors":
            reweigh(file.parent, 1.5)
        else:
            file.write_bytes(data.replace(b" ", b"\n", 1) if b" " in data else data + b" ")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(InputError) as refused:
            start(grid(str(model), [1, 2], models=adapted), finished)
        assert f"{kind} " in str(refused.value)
        assert Path(name).name in str(refused.value)
        findings = [each for each in check_grid(RunFolder(finished), None) if each.is_wrong]
        assert [each.where for each in findings] == ["content"]
        assert Path(name).name in findings[0].what
    assert list(check_grid(RunFolder(finished), None)) == []


def test_files_that_are_not_loaded(
    model: Path, adapted: list[dict[str, Any]], finished: Path
) -> None:
    for name in ("README.md", "optimizer.pt", ".gitattributes"):
        (model / name).write_text("new")
    assert start(grid(str(model), [1], models=adapted), finished).reused == 2


def test_records_and_manifest_hold_what_was_seen(finished: Path, model: Path) -> None:
    manifest, records = RunFolder(finished).read_manifest(), RunFolder(finished).records()
    parts = manifest.content[f"model {model}"]
    assert {"model.safetensors", "chat_template.jinja"} < set(parts)
    assert "adapter: adapter_model.safetensors" in parts
    seen = [record.content for record in records.values()]
    assert [len(each) for each in seen].count(2) == [len(each) for each in seen].count(3) == 1
    assert list(check_cells(RunFolder(finished), manifest, records)) == []


def test_readers_refuse_cells_of_another_content(finished: Path, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(finished, tmp_path / "run"))
    subject = next(s for s in folder.read_manifest().content if s.startswith("model"))
    edit(
        folder.path / "manifest.json",
        lambda values: values["content"][subject].update({"model.safetensors": "0" * 64}),
    )
    for reads in (analyse, build_report, lambda each: query(each, "select * from rows")):
        with pytest.raises(StoreError, match="another content"):
            reads(folder)
    findings = list(check_cells(folder, folder.read_manifest(), folder.records()))
    assert len(findings) == 2
    assert all(each.is_wrong and subject in each.what for each in findings)


def test_a_model_that_is_not_here_is_not_compared(
    finished: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    model.rename(model.with_name("away"))
    try:
        (note,) = check_grid(RunFolder(tmp_path / "run"), None)
    finally:
        model.with_name("away").rename(model)
    assert (note.where, note.is_wrong) == ("content", False)


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_worker_that_loads_something_else(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Weights are replaced after the driver began: every cell fails, and nothing is stored."""
    folder, out = tmp_path / "model", tmp_path / "run"
    shutil.copytree(tiny_folder, folder)
    load, group = worker.load_model, CellWorker.run

    def loads(*given: Any) -> Any:
        result = load(*given)
        reweigh(folder, 1.5)
        return result

    def runs(self: CellWorker, *given: Any) -> Any:
        reweigh(folder, 1.5)
        return group(self, *given)

    with monkeypatch.context() as patch:
        if when == "while":
            patch.setattr(worker, "load_model", loads)
        else:
            patch.setattr(CellWorker, "run", runs)
        assert len(start(grid(str(folder), [1]), out).failed) == 2
    records = RunFolder(out).records().values()
    assert {record.error.type for record in records} == {"CellError"}
    assert all("model.safetensors" in record.error.message for record in records)
    assert start(grid(str(folder), [1]), out) == Summary(2, 0, ())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return write_truthfulqa(tmp_path / "data")


@pytest.mark.parametrize(
    ("file", "old", "new", "parts"),
    [
        ("mc_task.json", "number 13", "number 31", ("task truthfulqa_mc1", "documents")),
        ("TruthfulQA.csv", "c1,", "c9,", ("task truthfulqa_mc1", "categories")),
        ("mc_task.json", '"No.": 0', '"Nay.": 0', ("contrast truthfulqa", "statements")),
    ],
)
def test_files_of_the_data_folder(
    tiny_folder: str, data_dir: Path, tmp_path: Path, file: str, old: str, new: str,
    parts: tuple[str, str],
) -> None:  # fmt: skip
    """The documents of a task, also those beyond its limit, their clusters, and a contrast."""
    out, subject = tmp_path / "run", parts[0].split()
    tasks = [{"name": "truthfulqa_mc1", "limit": 3}] if subject[0] == "task" else TASKS
    contrast = "truthfulqa" if subject[0] == "contrast" else "truthful-mini"
    given = grid(tiny_folder, [1], tasks=tasks, contrast=contrast)
    assert start(given, out, data_dir).failed == ()
    assert start(given, out, data_dir).reused == 2
    path = data_dir / "truthfulqa" / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError) as refused:
        start(grid(tiny_folder, [1, 2], tasks=tasks, contrast=contrast), out, data_dir)
    assert all(part in str(refused.value) for part in parts)
    wrong = [str(each) for each in check_grid(RunFolder(out), data_dir)]
    assert any(all(part in each for part in parts) for each in wrong)


def test_a_file_that_changes_after_the_plan(tiny_folder: str, tmp_path: Path) -> None:
    """A contrast file is part of a cell's id, which the worker holds it to."""
    file = tmp_path / "pairs.jsonl"
    pairs = [{"question": f"Is {n}?", "positive": "Yes.", "negative": "No."} for n in range(12)]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    cells = plan.make_plan(grid(tiny_folder, [1], contrast=str(file)))
    file.write_text(file.read_text().replace("No.", "Nay."))
    again = plan.make_plan(grid(tiny_folder, [1], contrast=str(file)))
    assert [a.id == b.id for a, b in zip(cells, again, strict=True)] == [True, False]
    store = RunFolder(tmp_path / "run")
    store.create()
    result = CellWorker(WorkerSettings(str(tmp_path / "run"), None, 4, "cpu")).run(
        (cells[1],), last=True
    )
    assert list(result.result.errors) == [cells[1].id]
    assert store.finished() == set()


@pytest.fixture
def hub(tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    return offline_hub(tiny_folder, tmp_path / "hub", monkeypatch)


@pytest.mark.slow
def test_a_branch_that_moved(hub: Callable[[str], str], tmp_path: Path) -> None:
    """Its commit stands for all files: another one is refused, the same one is gone on with."""
    out, first = tmp_path / "run", hub("a")
    assert start(grid("org/tiny", [1]), out).failed == ()
    assert RunFolder(out).read_manifest().content["model org/tiny"] == {COMMIT: first}
    second = hub("b")
    with pytest.raises(InputError) as refused:
        start(grid("org/tiny", [1, 2]), out)
    assert all(word in str(refused.value) for word in (first[:12], second[:12], "org/tiny"))
    hub("a")
    assert start(grid("org/tiny", [1, 2]), out).reused == 2


def test_a_commit_is_what_the_client_of_the_hub_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def download(*given: Any, revision: str) -> str:
        calls.append((*given, revision))
        return f"/cache/models--x/snapshots/{revision * 4}/{given[1]}"

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    spec = ModelSpec("org/m", (), revision="dev", peft="org/adapter")
    assert content_of_model(spec) == {COMMIT: "dev" * 4, f"adapter: {COMMIT}": "dev" * 4}
    assert calls == [
        ("org/m", "config.json", "dev"),
        ("org/adapter", "adapter_config.json", "dev"),
    ]


@pytest.mark.slow
def test_the_bundled_models_own_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))
    folder, out = tmp_path / "cache/models/smollm2-135m", tmp_path / "run"
    shutil.copytree(model, folder)
    assert start(grid("smollm2-135m", [1]), out).failed == ()
    reweigh(folder, 1.5)
    # With the note of its contents the folder counts as damaged, and is fetched again.
    (folder / CONTENTS).unlink()
    with pytest.raises(InputError, match=r"model smollm2-135m changed.*model\.safetensors"):
        start(grid("smollm2-135m", [1, 2]), out)


@pytest.mark.slow
def test_a_judges_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has judged and what another one has are not mixed."""
    monkeypatch.setattr(JudgeCache, "usual", lambda: JudgeCache(tmp_path / "judgements"))
    judge, out = tmp_path / "judge", tmp_path / "run"
    shutil.copytree(model, judge)
    tasks = [
        {"name": "truthful_mini_gen", "limit": 2, "generation": {"max_gen_toks": 4},
         "judges": [{"name": "fluency", "model": str(judge)}]}
    ]  # fmt: skip
    assert start(grid(str(model), [1], tasks=tasks), out).unjudged == ()
    subject = "judge fluency of task truthful_mini_gen"
    assert all(subject in each.content for each in RunFolder(out).records().values())
    reweigh(judge, 1.5)
    with pytest.raises(InputError, match=subject):
        start(grid(str(model), [1, 2], tasks=tasks), out)


@pytest.mark.slow
def test_a_run_of_the_version_before(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be read, and is refused by one sentence where it would be gone on with."""
    out, given = tmp_path / "run", grid(str(model), [1, 2])
    with monkeypatch.context() as patch:
        patch.setattr("steereval.harness.planning.cell.IDENTITY_VERSION", 5)
        assert start(given, out).failed == ()
    for file in (out / "manifest.json", *(out / "cells").glob("*.json")):
        edit(file, lambda values: values.pop("content"))
    assert len(analyse(RunFolder(out)).rows) > 0
    assert build_report(RunFolder(out)).exists()
    before = sorted(out.rglob("*"))
    for attempt in (
        lambda: start(given, out),
        lambda: score_again(out, tmp_path / "scored"),
    ):
        with pytest.raises(InputError, match="identity version 5"):
            attempt()
    assert sorted(out.rglob("*")) == before
    again = verify.Again(1, 1e-3, "cpu", None)
    (finding,) = verify.run_again(RunFolder(out), again, lambda line: None)
    assert finding.is_wrong


def score_again(out: Path, target: Path) -> None:
    from steereval.harness.rerun.rescore import rescore

    rescore(RunFolder(out), RunFolder(target), {}, None, lambda line: None)


def test_a_tasks_content() -> None:
    """Its definition counts and where its data lie does not."""
    spec = dataclasses.replace(grid("m", [1]).tasks[0], num_fewshot=2)
    task = configured(spec, None)
    first = content_of_task(task)
    assert set(first) == {"documents", "definition", "few-shot documents"}
    assert content_of_task(configured(spec, None)) == first
    task.set_config(key="doc_to_text", value="Question: {{question}}\nA:")
    changed = content_of_task(task)
    assert {part for part in first if first[part] != changed[part]} == {"definition"}
    task.config.metadata["config_source"] = "elsewhere"
    assert content_of_task(task) == changed


def test_a_folder_that_is_an_adapter_of_another_model(model: Path, tmp_path: Path) -> None:
    """Transformers loads what the adapter names."""
    folder = tmp_path / "both"
    shutil.copytree(model.with_name("adapter"), folder)
    shutil.copy(model / "config.json", folder)
    edit(
        folder / "adapter_config.json",
        lambda values: values.update(base_model_name_or_path=str(model)),
    )
    assert "base: model.safetensors" in content_at(str(folder), "main")
    edit(
        folder / "adapter_config.json",
        lambda values: values.update(base_model_name_or_path=str(folder)),
    )
    assert not any(part.startswith("base: ") for part in content_at(str(folder), "main"))


def test_weights_of_any_name_that_a_file_names(tmp_path: Path) -> None:
    """Shards of an index that the configuration names lie where they would beside it."""
    for name in ("model/parts/optimizer.safetensors", "shared/two.safetensors", "model/.three.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    index = {"a": "parts/optimizer.safetensors", "b": "../shared/two.safetensors", "c": "gone.bin"}
    folder = tmp_path / "model"
    named = {"transformers_weights": "parts/all.safetensors.index.json"}
    (folder / "config.json").write_text(json.dumps(named))
    (folder / "parts/all.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"d": ".three.bin"}}')
    (folder / "broken.index.json").write_text("[")
    assert set(content_at(str(folder), "main")) == {
        *("config.json", "pytorch_model.bin.index.json", "broken.index.json", ".three.bin"),
        *("parts/all.safetensors.index.json", "parts/optimizer.safetensors"),
        "../shared/two.safetensors",
    }


def test_kinds_of_files() -> None:
    assert [
        kind_of(name) for name in ("a.bin", "adapter: adapter_config.json", "vocab.txt", "x")
    ] == [
        "weights",
        "adapter",
        "tokenizer",
        "",
    ]


def test_a_plan_needs_no_model() -> None:
    assert len(plan.make_plan(grid("no/such-model", [1, 2]))) == 3
