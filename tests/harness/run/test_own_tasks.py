"""Runs of a grid with tasks of its own: identity, workers, archives, and groups as in lm-eval."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import lm_eval
import numpy as np
import pytest
import yaml
from lm_eval.tasks import TaskManager
from own_tasks import EXAMPLE, EXAMPLE_SIZES, SIZES, copied_example, write_own_tasks
from safetensors.torch import load_file

from steereval.common.errors import GridError, InputError, TaskError
from steereval.harness.cli.main import main
from steereval.harness.config.grid import Grid, load_grid, parse_grid, plain
from steereval.harness.config.included import included_of, with_members
from steereval.harness.deploy.job_submission import options_of, travelling
from steereval.harness.engine.loading import WorkerSettings
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.planning.groups import groups
from steereval.harness.planning.plan import make_plan, plan_notes
from steereval.harness.rerun.rescore import rescore
from steereval.harness.run.driver import run_grid
from steereval.harness.run.worker import CellWorker
from steereval.results.analysis.run_analysis import analyse
from steereval.results.store.archive import write_archive
from steereval.results.store.run_folder import OWN_TASKS, RunFolder


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write_grid(tiny_folder: str, tmp_path: Path) -> Any:
    """Writes a grid file beside a folder of tasks, and returns its path."""
    write_own_tasks(tmp_path / "own" / "tasks")

    def write(**changes: Any) -> Path:
        data = {
            "name": "own",
            "include_path": "tasks",
            "models": [{"name": tiny_folder, "layers": [1]}],
            "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
            "methods": ["none", {"name": "caa", "strengths": [4]}],
            "tasks": ["own_animals", {"name": "truthful_mini_mc", "limit": 4}],
        }
        path = tmp_path / "own" / "grid.yaml"
        path.write_text(yaml.safe_dump(data | changes))
        return path

    return write


def ids(grid: Grid) -> dict[str, set[str]]:
    """{task: ids of its cells}."""
    cells = make_plan(grid)
    return {
        name: {c.id for c in cells if c.task.name == name} for name in {c.task.name for c in cells}
    }


def test_content_is_part_of_the_identity_of_cells_that_use_it(write_grid: Any) -> None:
    path = write_grid()
    first = ids(load_grid(path))
    code = path.parent / "tasks" / "utils.py"
    code.write_text(code.read_text() + "# changed\n")
    second = ids(load_grid(path))
    assert second["truthful_mini_mc"] == first["truthful_mini_mc"]
    assert not second["own_animals"] & first["own_animals"]
    bare = parse_grid(yaml.safe_load(path.read_text()) | {"tasks": ["truthful_mini_mc"]})
    assert "include_hash" not in make_plan(bare)[0].identity["task"]


def test_the_command_line_names_the_folder(write_grid: Any, tmp_path: Path) -> None:
    path = write_grid(include_path=None)
    other = shutil.copytree(path.parent / "tasks", tmp_path / "elsewhere")
    grid = load_grid(path, other)
    assert grid.tasks[0].include_hash
    assert grid.tasks[1].include_hash == ""
    assert load_grid(write_grid(), None).tasks == grid.tasks


def test_a_grid_that_names_other_content_is_refused(write_grid: Any) -> None:
    with pytest.raises(GridError, match="include_hash abc"):
        load_grid(write_grid(tasks=[{"name": "own_animals", "include_hash": "abc"}]))


def test_folders_that_cannot_be_used(write_grid: Any) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_grid(write_grid(include_path="nowhere"))
    path = write_grid(include_path="empty")
    (path.parent / "empty").mkdir()
    with pytest.raises(InputError, match="holds no task"):
        load_grid(path)


def test_tags_and_groups_without_a_score_become_their_tasks(write_grid: Any) -> None:
    methods = ["none", {"name": "caa", "strengths": [1], "tasks": ["own_bare"]}]
    grid = with_members(load_grid(write_grid(tasks=["own_bare"], methods=methods)))
    assert [task.name for task in grid.tasks] == list(SIZES)
    assert grid.methods[1].tasks == tuple(SIZES)
    assert with_members(parse_grid(plain(grid))) == grid
    with pytest.raises(GridError, match="twice"):
        with_members(load_grid(write_grid(tasks=["own_tag", "own_plants"])))
    chosen = {"on": "validation", "task": "own_tag"}
    with pytest.raises(GridError, match="stands for 2 tasks"):
        with_members(load_grid(write_grid(tasks=["own_tag"], select=chosen)))


@pytest.mark.slow
def test_a_run_and_its_second_start(write_grid: Any, tmp_path: Path) -> None:
    path, out = write_grid(), tmp_path / "run"
    assert main(["run", str(path), "--out", str(out), "--no-report"]) == 0
    items = RunFolder(out).read_items().to_pylist()
    animals = [row for row in items if row["task"] == "own_animals"]
    assert {row["metric"] for row in animals} == {"acc", "margin"}
    assert len({row["item_id"] for row in animals}) == SIZES["own_animals"]
    manifest = RunFolder(out).read_manifest()
    content_hash = load_grid(path).tasks[0].include_hash
    assert manifest.grid["tasks"][0]["include_hash"] == content_hash
    names = {name for name, _ in RunFolder(out).files() if name.startswith(OWN_TASKS)}
    assert f"{OWN_TASKS}/{content_hash}/utils.py" in names
    assert f"{OWN_TASKS}/{content_hash}/data/own_animals.jsonl" in names
    assert run_grid(load_grid(path), out, None, quiet).reused == len(make_plan(load_grid(path)))


@pytest.mark.slow
def test_workers_on_a_machine_without_the_folder(
    write_grid: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_grid(tasks=["own_micro"]), RunFolder(tmp_path / "run")
    grid = load_grid(path)
    included, cells = included_of(grid), make_plan(grid)
    shutil.rmtree(path.parent)
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "another"))
    out.create()
    settings = WorkerSettings(out.place.location, None, 4, "cpu", included=included)
    for group in groups(cells):
        assert CellWorker(settings).run(group, last=True).result.errors == {}
    assert out.finished() == {cell.id for cell in cells}


def test_what_is_sent_reads_the_same_tasks(write_grid: Any, tmp_path: Path) -> None:
    """Also from a folder that is outside of the grid's."""
    path = write_grid(include_path="../elsewhere")
    (path.parent / "tasks").rename(tmp_path / "elsewhere")
    grid, there = load_grid(path), tmp_path / "there"
    for name, data in travelling(grid, path).items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(data)
    option, folder = options_of(grid)
    assert option == "--include-path"
    assert load_grid(there / path.name, there / folder).tasks == grid.tasks


@pytest.mark.slow
def test_an_archive_is_scored_again_with_its_tasks(
    write_grid: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their code is executed only once someone names the folder."""
    out = tmp_path / "run"
    run_grid(load_grid(write_grid(tasks=["own_animals"])), out, None, quiet)
    shutil.rmtree(tmp_path / "own")
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "another"))
    with pytest.raises(TaskError, match="--include-path"):
        rescore(RunFolder(out), RunFolder(tmp_path / "a"), {}, None, quiet)
    (folder,) = (out / OWN_TASKS).iterdir()
    words = ["rescore", str(out), "--out", str(tmp_path / "b"), "--include-path", str(folder)]
    assert main(words) == 0
    assert same_values(out, tmp_path / "b")


@pytest.mark.slow
def test_a_run_is_scored_again_with_an_edited_metric(write_grid: Any, tmp_path: Path) -> None:
    path, out = write_grid(tasks=["own_animals"]), tmp_path / "run"
    run_grid(load_grid(path), out, None, quiet)
    code = path.parent / "tasks" / "utils.py"
    code.write_text(code.read_text().replace('"margin": right', '"margin": 1000 + right'))
    words = ["rescore", str(out), "--out", str(tmp_path / "b")]
    assert main([*words, "--include-path", str(code.parent)]) == 0
    before, after = margins(out), margins(tmp_path / "b")
    assert after == pytest.approx([value + 1000 for value in before])


def margins(out: Path) -> list[float]:
    rows = RunFolder(out).read_items().to_pylist()
    margin_rows = [row for row in rows if row["metric"] == "margin"]
    key = ("method", "item_id")
    return [row["value"] for row in sorted(margin_rows, key=lambda row: [row[k] for k in key])]


def same_values(one: Path, other: Path) -> bool:
    return margins(one) == margins(other)


@pytest.mark.slow
def test_verify_runs_cells_of_own_tasks_again(write_grid: Any, tmp_path: Path) -> None:
    path, out = write_grid(tasks=["own_animals"]), tmp_path / "run"
    run_grid(load_grid(path), out, None, quiet)
    words = ["verify", str(out), "--cells", "1", "--device", "cpu"]
    assert main([*words, "--include-path", str(path.parent / "tasks")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_micro", "own_macro"])
def test_the_score_of_a_group_is_lm_evals(
    name: str, write_grid: Any, tiny_folder: str, tmp_path: Path
) -> None:
    path, out = write_grid(tasks=[name]), tmp_path / "run"
    run_grid(load_grid(path), out, None, quiet)
    lm = SteeredLM(tiny_folder, method="none", device="cpu", dtype="float32")
    # lm-eval takes relative paths of data from the current folder.
    folder = included_of(load_grid(path))[0].publish()
    results = lm_eval.simple_evaluate(
        lm,
        tasks=[name],
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )
    rows = [row for row in analyse(RunFolder(out)).rows if row.is_baseline]
    assert {row.metric.name for row in rows} == {"acc", "margin"}
    for row in rows:
        assert row.score is not None
        expected = results["groups"][name][f"{row.metric.name},none"]
        assert row.score.mean == pytest.approx(expected, abs=1e-5)
        assert row.score.n_items == sum(SIZES.values())
    by_task = [results["results"][task]["acc,none"] for task in SIZES]
    sizes = list(SIZES.values()) if name == "own_micro" else None
    assert results["groups"][name]["acc,none"] == pytest.approx(np.average(by_task, weights=sizes))
    (by_subtask,) = analyse(RunFolder(out)).subtasks
    assert by_subtask.n_items == SIZES
    unsteered = {task: scores[0] for task, scores in by_subtask.means.items()}
    assert unsteered == pytest.approx(dict(zip(SIZES, by_task, strict=True)))


@pytest.mark.slow
def test_the_subtask_is_the_cluster(write_grid: Any, tmp_path: Path) -> None:
    tasks = [{"name": "own_macro", "limit": 2}, {"name": "own_animals", "limit": 1}]
    out = tmp_path / "run"
    # The shorter task is over first, and its verdicts are shown while the group has none.
    assert run_grid(load_grid(write_grid(tasks=tasks)), out, None, quiet).failed == ()
    rows = RunFolder(out).read_items().to_pylist()
    items = [row for row in rows if row["task"] == "own_macro"]
    assert {row["cluster_id"] for row in items} == set(SIZES)
    assert all(row["item_id"].startswith(f"{row['cluster_id']}:") for row in items)
    assert len({row["item_id"] for row in items}) == 4
    entry = RunFolder(out).read_manifest().tasks["own_macro"]
    assert entry.cluster == "the subtask"
    assert entry.subtasks == list(SIZES)
    (row,) = [
        r
        for r in analyse(RunFolder(out)).rows
        if not r.is_baseline and r.metric.name == "margin" and r.task.name == "own_macro"
    ]
    assert row.comparison is not None
    assert row.comparison.grouping.n_clusters == 2


def test_a_group_is_not_judged(write_grid: Any, tmp_path: Path) -> None:
    tasks = [{"name": "own_micro", "judges": ["fluency"]}]
    with pytest.raises(TaskError, match="generates nothing"):
        run_grid(load_grid(write_grid(tasks=tasks)), tmp_path / "run", None, quiet)


@pytest.mark.slow
def test_plan_counts_own_tasks(write_grid: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(write_grid(tasks=["own_tag", "own_macro"]))]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*SIZES, "own_macro"))


@pytest.mark.slow
def test_the_example_runs_outside_of_the_repository(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task, the contrast and the vector that a user would replace."""
    grid, out = copied_example(tmp_path / "own-task", tiny_folder, 32), tmp_path / "run"
    monkeypatch.chdir(grid.parent)
    assert main(["run", grid.name, "--out", str(out)]) == 0
    items = RunFolder(out).read_items().to_pylist()
    sizes = {task: {r["item_id"] for r in items if r["task"] == task} for task in EXAMPLE_SIZES}
    assert {task: len(ids) for task, ids in sizes.items()} == EXAMPLE_SIZES
    rows = analyse(RunFolder(out)).rows
    assert {row.arm.method for row in rows} == {"none", "caa", "vector"}
    primary = {row.task.name: row.metric.name for row in rows if row.is_primary}
    assert primary["politeness_replies"] == "margin"
    assert (out / "report" / "index.html").is_file()


@pytest.mark.slow
def test_the_vector_of_the_example_is_made_by_its_program(tiny_folder: str, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "own-task")
    program = [sys.executable, str(folder / "make_vector.py"), tiny_folder, "1"]
    subprocess.run(program, check=True, capture_output=True)
    vector = load_file(folder / "vector.safetensors")["layer.1"]
    assert vector.shape == (32,)
    assert vector.norm() > 0
    shipped = load_file(EXAMPLE / "vector.safetensors")
    assert {name: tuple(each.shape) for name, each in shipped.items()} == {"layer.14": (576,)}


def test_tasks_lists_a_folder(write_grid: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_grid().parent / "tasks"
    assert main(["tasks", "--include-path", str(folder)]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert {"own_animals", "own_plants", "own_micro", "own_macro"} < set(rows)
    assert "own_animals, own_plants" in rows["own_tag"]


@pytest.mark.slow
def test_a_group_that_writes_and_chooses(write_grid: Any, tiny_folder: str, tmp_path: Path) -> None:
    """Each metric is over the subtasks that have it, as in lm-eval; texts have a perplexity."""
    path, out = write_grid(tasks=["own_mixed"]), tmp_path / "run"
    assert run_grid(load_grid(path), out, None, quiet).failed == ()
    lm = SteeredLM(tiny_folder, method="none", device="cpu", dtype="float32")
    folder = included_of(load_grid(path))[0].publish()
    results = lm_eval.simple_evaluate(
        lm,
        tasks=["own_mixed"],
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )
    scores = {r.metric.name: r.score for r in analyse(RunFolder(out)).rows if r.is_baseline}
    assert {name: score.n_items for name, score in scores.items() if score} == {
        "acc": 6, "margin": 6, "exact_match": 3, "perplexity": 3,
    }  # fmt: skip
    assert {row.n_dropped_items for row in analyse(RunFolder(out)).rows} == {0}
    assert analyse(RunFolder(out)).notes == ()
    for name in ("acc", "exact_match"):
        score = scores[name]
        assert score is not None
        assert score.mean == pytest.approx(results["groups"]["own_mixed"][f"{name},none"])


@pytest.mark.slow
def test_lm_evals_samples_of_a_group_are_imported(
    write_grid: Any, tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file for each subtask becomes one arm, equal to the unsteered model."""
    path, out = write_grid(tasks=["own_macro"]), tmp_path / "run"
    run_grid(load_grid(path), out, None, quiet)
    folder = included_of(load_grid(path))[0].publish()
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = [
        *("--model", "hf", "--model_args", f"pretrained={tiny_folder},dtype=float32"),
        *("--device", "cpu", "--tasks", "own_macro", "--include_path", str(folder)),
        *("--log_samples", "--output_path", str(tmp_path / "log")),
    ]
    assert main(["lm-eval", *words]) == 0
    files = sorted(map(str, (tmp_path / "log").rglob("samples_*.jsonl")))
    assert len(files) == len(SIZES)
    assert main(["import", *files, "--into", str(out), "--label", "hf"]) == 0
    rows = {r.arm.method: r for r in analyse(RunFolder(out)).rows if r.metric.name == "margin"}
    assert rows["hf"].score is not None
    assert rows["none"].score is not None
    assert rows["hf"].score.mean == pytest.approx(rows["none"].score.mean, abs=1e-4)
    assert rows["hf"].score.n_items == sum(SIZES.values())


@pytest.mark.slow
def test_an_archive_names_its_own_tasks(write_grid: Any, tmp_path: Path) -> None:
    out, grid = tmp_path / "run", load_grid(write_grid(tasks=["own_animals"], methods=["none"]))
    run_grid(grid, out, None, quiet)
    archive = tmp_path / "run.zip"
    write_archive(RunFolder(out), archive)
    with ZipFile(archive) as packed:
        names = packed.namelist()
        how = packed.read(next(name for name in names if name.endswith("HOW-TO-CHECK.md"))).decode()
    folder = f"{OWN_TASKS}/{grid.tasks[0].include_hash}"
    assert folder in how
    assert any(name.endswith(f"{folder}/utils.py") for name in names)


def test_replaced_tasks_keep_their_hash(write_grid: Any) -> None:
    grid = load_grid(write_grid())
    limited = dataclasses.replace(grid.tasks[0], limit=1)
    assert limited.include_hash == grid.tasks[0].include_hash


def test_a_task_in_place_of_a_built_in_one_is_reported(tiny_folder: str, tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write_own_tasks(folder)
    text = (folder / "own_animals.yaml").read_text()
    (folder / "own_animals.yaml").unlink()
    (folder / "arc_easy.yaml").write_text(text.replace("task: own_animals", "task: arc_easy"))
    data = {
        "name": "own",
        "include_path": "tasks",
        "models": [{"name": tiny_folder, "layers": [1]}],
        "methods": ["none"],
        "tasks": ["arc_easy", "own_plants"],
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(data))
    grid = load_grid(tmp_path / "grid.yaml")
    (note,) = plan_notes(grid, make_plan(grid))
    assert "arc_easy" in note
    assert "own_plants" not in note
