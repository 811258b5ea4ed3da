"""Whole runs of a small grid: rows, resuming, failures, and Ray beside the serial executor."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from method_options import SMALL
from safetensors.torch import save_file

from steereval.common.errors import ModelError
from steereval.harness.cli.main import main
from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.engine import hf_backend, steered_lm
from steereval.harness.planning.groups import groups
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.driver import run_grid
from steereval.harness.run.item_rows import assign_splits
from steereval.harness.run.worker import CellWorker
from steereval.models.methods.registry import BUILT_IN
from steereval.ray_jobs.serial import SerialExecutor
from steereval.ray_jobs.work import Done, Work
from steereval.results.analysis.run_analysis import analyse
from steereval.results.lm_eval.samples import as_number
from steereval.results.report import build_report
from steereval.results.store.correct_answers import read_correct_answers
from steereval.results.store.profiles import PHASES, read_profiles
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage

DATA: dict[str, Any] = {
    "name": "small",
    "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
    "methods": [
        "none",
        {"name": "caa", "strengths": [1, 3]},
        {"name": "odesteer", "strengths": [2], "options": {"components": 512}},
    ],
    "tasks": [{"name": "truthful_mini_mc", "limit": 8}],
    "seeds": {"fit": [0, 1]},
    "select": {"on": "validation"},
}


def grid(model: str, **changes: Any) -> Grid:
    return parse_grid(DATA | {"models": [{"name": model, "layers": [1]}]} | changes)


def rows(out: Path) -> list[dict[str, Any]]:
    order = [(name, "ascending") for name in ("cell_id", "item_id", "metric")]
    items: list[dict[str, Any]] = RunFolder(out).read_items().sort_by(order).to_pylist()
    return items


@pytest.fixture(scope="module")
def finished(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("session") / "run"
    summary = run_grid(grid(tiny_folder), out, None, lambda line: None)
    assert summary.failed == ()
    return out


def test_every_cell_has_rows_for_every_item_and_metric(finished: Path, tiny_folder: str) -> None:
    result = rows(finished)
    cells = make_plan(grid(tiny_folder))
    assert len(result) == len(cells) * 8 * 2
    assert {row["metric"] for row in result} == {"mc1", "mc2"}
    assert {row["cell_id"] for row in result} == {cell.id for cell in cells}
    assert {row["split"] for row in result} == {"validation", "test"}
    assert all(row["cluster_id"] for row in result)


@pytest.mark.slow
def test_few_shot_examples_are_the_same_for_all_cells(tiny_folder: str, tmp_path: Path) -> None:
    """They are drawn anew in each evaluation, from the cell's own seed."""
    tasks = [{"name": "truthful_mini_mc", "limit": 4, "num_fewshot": 2}]
    some = grid(tiny_folder, tasks=tasks, methods=["none", {"name": "caa", "strengths": [1]}])
    assert run_grid(some, tmp_path / "run", None, lambda line: None).failed == ()
    prompts: dict[str, set[str]] = {}
    for row in RunFolder(tmp_path / "run").read_responses().to_pylist():
        prompts.setdefault(row["cell_id"], set()).add(f"{row['item_id']} {row['prompt_hash']}")
    first, *others = prompts.values()
    assert len(first) == 4
    assert all(each == first for each in others)


def test_items_pair_across_methods_and_carry_their_fold(finished: Path) -> None:
    result = rows(finished)
    items = {m: {r["item_id"] for r in result if r["method"] == m} for m in ("none", "caa")}
    assert items["none"] == items["caa"]
    steered = {r["item_id"]: r["fold"] for r in result if r["method"] == "caa"}
    assert set(steered.values()) == {0, 1}
    assert {r["fold"] for r in result if r["method"] == "none"} == {None}
    splits = {(r["item_id"], r["split"]) for r in result}
    assert len(splits) == 8


def test_seeds_and_strengths_change_the_scores(finished: Path) -> None:
    scores: dict[Any, list[float]] = {}
    for row in rows(finished):
        if row["metric"] == "mc2":
            key = (row["method"], row["strength"], row["fit_seed"])
            scores.setdefault(key, []).append(row["value"])
    assert len({tuple(values) for values in scores.values()}) == len(scores) == 7


def test_records_say_what_was_fitted(finished: Path, tiny_folder: str) -> None:
    records = RunFolder(finished).records().values()
    steered = [record for record in records if record.steerers]
    assert len(steered) == 6
    for record in steered:
        assert [card["fold_left_out"] for card in record.steerers] == [0, 1]
        assert {card["model"] for card in record.steerers} == {tiny_folder}
        assert {card["model_revision"] for card in record.steerers} == {"main"}
        assert record.path == "shared"
        assert record.timings.seconds > 0


def test_responses_hold_what_was_asked_and_answered(finished: Path) -> None:
    responses = RunFolder(finished).read_responses().to_pylist()
    assert {row["kind"] for row in responses} == {"loglikelihood"}
    assert all(row["prompt"].startswith("Q: ") and row["log_likelihood"] < 0 for row in responses)


def test_a_second_start_runs_nothing(
    finished: Path, tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(CellWorker, "run", never)
    summary = run_grid(grid(tiny_folder), finished, None, lambda line: None)
    assert summary.reused == summary.planned == 7


@pytest.mark.slow
def test_a_larger_grid_runs_what_is_new(
    finished: Path, tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run = CellWorker.run

    def counted(self: CellWorker, group: Any, last: bool) -> Done:
        ran.extend(str(cell) for cell in group)
        return run(self, group, last)

    monkeypatch.setattr(CellWorker, "run", counted)
    more = grid(tiny_folder, seeds={"fit": [0, 1, 2]})
    assert run_grid(more, finished, None, lambda line: None).failed == ()
    assert len(ran) == 3


@pytest.mark.slow
def test_the_report_comes_from_the_tables(finished: Path) -> None:
    page = build_report(RunFolder(finished))
    text = page.read_text()
    assert "truthful_mini_mc" in text
    assert "inconclusive" in text or "better" in text
    assert (page.parent / "items.jsonl").exists()


def test_readers_learn_traits_documents_and_correct_answers(finished: Path) -> None:
    run = RunFolder(finished)
    manifest = run.read_manifest()
    traits = {label: entry.traits for label, entry in manifest.methods.items()}
    assert traits == {"none": [], "caa": ["constant"], "odesteer": ["barrier", "flow"]}
    assert manifest.tasks["truthful_mini_mc"].documents == 376
    items = set(run.read_items()["item_id"].to_pylist())
    result = read_correct_answers(run.place)["truthful_mini_mc"]
    assert set(result) == items
    assert all(correct.choices for correct in result.values())


@pytest.mark.slow
def test_a_run_ends_with_its_verdicts(
    finished: Path, tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every cell is there already, so nothing is computed; piped, so a line a row."""
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(DATA | {"models": [{"name": tiny_folder, "layers": [1]}]}))
    assert main(["run", str(file), "--out", str(finished)]) == 0
    headline, heads, *rows, page = capsys.readouterr().out.splitlines()
    assert "improvement" in headline or "improves" in headline
    assert heads.split()[:2] == ["Method", "Task"]
    assert [row.split()[0] for row in rows] != []
    assert {row.split()[0] for row in rows} == {"caa", "odesteer"}
    assert page == str(finished / "report" / "index.html")


@pytest.mark.slow
def test_ray_gives_the_same_rows_as_the_serial_executor(tiny_folder: str, tmp_path: Path) -> None:
    small = grid(tiny_folder, seeds={"fit": [0]})
    two = dataclasses.replace(small, run=dataclasses.replace(small.run, workers=2))
    assert run_grid(small, tmp_path / "serial", None, lambda line: None).failed == ()
    assert run_grid(two, tmp_path / "ray", None, lambda line: None).failed == ()
    assert rows(tmp_path / "ray") == rows(tmp_path / "serial")


def every_method(tmp_path: Path) -> list[Any]:
    """All built-in methods, some in two ways, quick to fit."""
    vector = tmp_path / "vector.safetensors"
    save_file({"layer.1": torch.randn(32, generator=torch.Generator().manual_seed(0))}, vector)
    options = SMALL | {"conditional": {"method": "caa"}, "vector": {"path": str(vector)}}
    # The flows are weak enough for Euler's steps not to swing around their goal, nor from one
    # of random features' ripples to the next, which would magnify rounding.
    strong = ("caa", "repe", "iti", "iti_heads", "conditional", "vector")
    flows = ("odesteer", "step_odesteer", "rff_odesteer", "gradient_ascent", "linear_sphere")
    steered: list[Any] = [
        {
            "name": name,
            "strengths": [20 if name in strong else 0.05 if name in flows else 1],
            "options": options.get(name, {}),
        }
        for name in BUILT_IN
        if name != "none"
    ]
    everywhere = {"name": "caa", "strengths": [20], "label": "everywhere", "positions": "all"}
    return ["none", *steered, everywhere]


SAMPLING = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 8, "until": []}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "path"),
    [*((kind, "auto") for kind in ("likelihoods", "greedy", "sampled")),
     *((kind, "plain") for kind in ("likelihoods", "greedy"))],
)  # fmt: skip
def test_cells_together_are_cells_alone(
    tiny_folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    path: str,
) -> None:
    """One pass for all methods and folds gives what a pass for each gives, also where the model
    cannot share prefixes."""
    if path == "plain":
        monkeypatch.setattr(
            "steereval.harness.engine.hf_backend.supports_sharing", lambda *_: False
        )
    name = "truthful_mini_mc" if kind == "likelihoods" else "truthful_mini_gen"
    task = {"name": name, "limit": 3, "generation": SAMPLING if kind == "sampled" else {}}
    methods = every_method(tmp_path)
    one = grid(tiny_folder, methods=methods, tasks=[task], seeds={"fit": [0]})
    monkeypatch.setattr("steereval.harness.planning.groups.GROUP_ARMS", len(methods))
    assert len(groups(make_plan(one))) == 1
    assert run_grid(one, tmp_path / "together", None, lambda line: None).failed == ()
    monkeypatch.setattr("steereval.harness.planning.groups.GROUP_ARMS", 1)
    assert run_grid(one, tmp_path / "alone", None, lambda line: None).failed == ()
    together, alone = (answers(tmp_path / name) for name in ("together", "alone"))
    assert together.keys() == alone.keys()
    assert len(set(alone.values())) > 3, "no method changes anything"
    for key, value in alone.items():
        same = value if isinstance(value, str) else pytest.approx(value, abs=1e-4, rel=2e-5)
        assert together[key] == same
    moved = [
        {id: record.displacement for id, record in RunFolder(tmp_path / name).records().items()}
        for name in ("together", "alone")
    ]
    assert sum(bool(sites) for sites in moved[0].values()) == len(methods) - 1
    for cell, sites in moved[0].items():
        # A token that several rows of the shared path hold counts in each.
        assert sites == pytest.approx(moved[1][cell], rel=0.02)


def answers(out: Path) -> dict[tuple[str, str, int], str | float]:
    """What each cell answered to each request."""
    responses = RunFolder(out).read_responses().to_pylist()
    return {
        (row["cell_id"], row["item_id"], row["request"]): row["continuation"]
        if row["kind"] == "generation"
        else row["log_likelihood"]
        for row in responses
    }


@pytest.mark.slow
def test_a_group_that_was_cut_off_ends_with_the_same_rows(tiny_folder: str, tmp_path: Path) -> None:
    """All of it is answered again, since rounding depends on what is answered together."""
    finished, out = tmp_path / "whole", tmp_path / "cut"
    assert run_grid(grid(tiny_folder), finished, None, lambda line: None).failed == ()
    shutil.copytree(finished, out)
    for record in sorted((out / "cells").glob("*.json"))[2:]:
        record.unlink()
    assert run_grid(grid(tiny_folder), out, None, lambda line: None).failed == ()
    assert rows(out) == rows(finished)


@pytest.mark.slow
def test_without_a_gpu_loading_is_cheap_compared_with_answers(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two workers would leave all groups of a model to one of them."""
    seen: list[Work] = []

    class Recording(SerialExecutor):
        def run(self, works: Sequence[Work], factory: object, listener: object) -> None:
            seen.extend(works)

    monkeypatch.setattr("steereval.harness.run.driver.executor_of", lambda grid: Recording())
    task = {"name": "truthful_mini_mc", "limit": 64}
    some = grid(tiny_folder, tasks=[task], run={"device": "cpu"})
    run_grid(some, tmp_path / "run", None, lambda line: None)
    assert len(seen) == 1
    assert seen[0].load < seen[0].cost


@pytest.mark.slow
def test_sampled_answers_depend_on_item_and_seed_alone(tiny_folder: str, tmp_path: Path) -> None:
    """Not on the group, nor on the batch, nor on the other seeds."""
    caa = {"name": "caa", "strengths": [3]}
    runs: dict[str, Any] = {
        "two": {"methods": ["none", caa]},
        "one": {"methods": ["none"]},
        "small": {"methods": ["none", caa], "run": {"batch_size": 3}},
        "other": {"methods": ["none"], "seeds": {"sample": [1]}},
        "both": {"methods": ["none"], "seeds": {"sample": [0, 1]}},
    }
    result = {}
    for name, changes in runs.items():
        task = {"name": "truthful_mini_gen", "limit": 4, "generation": SAMPLING}
        task_grid = grid(tiny_folder, **({"tasks": [task], "seeds": {"fit": [0]}} | changes))
        assert run_grid(task_grid, tmp_path / name, None, lambda line: None).failed == ()
        result[name] = answers(tmp_path / name)
    assert result["one"].items() <= result["two"].items()
    assert result["small"] == result["two"]
    assert set(result["other"].values()).isdisjoint(result["one"].values())
    assert result["both"] == result["one"] | result["other"]


@pytest.mark.slow
def test_prompts_of_a_batch_generate_under_all_arms_at_once(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch size counts prompts: rows of several arms cost a pass little more than one."""
    task = {"name": "truthful_mini_gen", "limit": 5}
    some = grid(tiny_folder, tasks=[task], seeds={"fit": [0]}, run={"batch_size": 3})
    arms = len({cell.arm for cell in make_plan(some)})
    prefill, rows_seen = hf_backend.prefilled, []

    def prefilled(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        rows_seen.append(len(ids))
        return prefill(model, ids, mask)

    monkeypatch.setattr(hf_backend, "prefilled", prefilled)
    assert run_grid(some, tmp_path / "run", None, lambda line: None).failed == ()
    assert arms > 1
    assert rows_seen == [3 * arms, 2 * arms]


@pytest.mark.slow
@pytest.mark.parametrize("room", ["little memory", "less than measured"])
def test_texts_do_not_depend_on_how_many_fit_in_memory(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    """Neither where little is free from the start, nor where a batch runs out of it."""
    task = {"name": "truthful_mini_gen", "limit": 5, "generation": SAMPLING}
    some = grid(tiny_folder, tasks=[task], seeds={"fit": [0]})
    assert run_grid(some, tmp_path / "much", None, lambda line: None).failed == ()
    prefill, rows_seen = hf_backend.prefilled, []

    def prefilled(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        if room != "little memory" and len(ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        rows_seen.append(len(ids))
        return prefill(model, ids, mask)

    monkeypatch.setattr(hf_backend, "prefilled", prefilled)
    if room == "little memory":
        monkeypatch.setattr(hf_backend, "free_bytes", lambda device: 350_000)
    assert run_grid(some, tmp_path / "little", None, lambda line: None).failed == ()
    assert answers(tmp_path / "little") == answers(tmp_path / "much")
    assert sum(rows_seen) == 20
    assert max(rows_seen) <= 8


@pytest.mark.slow
def test_a_failed_cell_is_recorded_and_the_rest_continues(tiny_folder: str, tmp_path: Path) -> None:
    bad = grid(
        tiny_folder,
        methods=["none", {"name": "caa", "strengths": [1, 1e42]}],
        seeds={"fit": [0]},
    )
    out = tmp_path / "run"
    summary = run_grid(bad, out, None, lambda line: None)
    assert len(summary.failed) == 1
    (record,) = [r for r in RunFolder(out).records().values() if r.status == "failed"]
    assert "not finite" in record.error.message
    assert len(RunFolder(out).finished()) == 2
    assert build_report(RunFolder(out)).exists()


@pytest.mark.slow
def test_a_model_that_does_not_load_is_tried_once_for_a_group(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def broken(spec: Any, settings: Any) -> None:
        tried.append(spec.name)
        raise ModelError("it is damaged", "Fetch it again.")

    monkeypatch.setattr("steereval.harness.run.worker.load_model", broken)
    out = tmp_path / "run"
    summary = run_grid(grid(tiny_folder), out, None, lambda line: None)
    assert len(tried) == len(groups(make_plan(grid(tiny_folder)))) == 1
    assert len(summary.failed) == summary.planned == 7
    assert all("it is damaged" in r.error.message for r in RunFolder(out).records().values())


@pytest.mark.slow
def test_an_unforeseen_error_fails_one_cell_and_keeps_its_traceback(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("broken on purpose")

    monkeypatch.setattr("steereval.harness.run.item_rows.cluster_in", broken)
    out = tmp_path / "run"
    only = grid(tiny_folder, methods=["none"])
    (failure,) = run_grid(only, out, None, lambda line: None).failed
    assert "failed with ZeroDivisionError: broken on purpose" in failure
    (record,) = RunFolder(out).records().values()
    assert any("in broken" in line for line in record.error.traceback)


@pytest.mark.slow
def test_a_score_that_is_not_a_number_fails_the_cell(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "steereval.results.lm_eval.samples.as_number", lambda value: (float("nan"), 1.0)
    )
    only = grid(tiny_folder, methods=["none"])
    (failure,) = run_grid(only, tmp_path / "run", None, lambda line: None).failed
    assert "is not a number" in failure


def test_scores_become_numbers() -> None:
    assert as_number(True) == (1.0, 1.0)
    assert as_number(0.25) == (0.25, 1.0)
    assert as_number((-12.0, 4)) == (12.0, 4.0)
    assert as_number({"a": 1}) is None
    assert as_number("text") is None


@pytest.mark.slow
def test_generated_text_has_a_perplexity_under_the_unsteered_model(
    tiny_folder: str, tmp_path: Path
) -> None:
    task = {"name": "truthful_mini_gen", "limit": 3}
    assert run_grid(grid(tiny_folder, tasks=[task], seeds={"fit": [0]}), tmp_path / "run", None,
                    lambda line: None).failed == ()  # fmt: skip
    result = [row for row in rows(tmp_path / "run") if row["metric"] == "perplexity"]
    assert len(result) == 3 * 4
    assert all(row["weight"] >= 1 and row["value"] > 0 for row in result)
    assert not any(row["higher_is_better"] for row in result)


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.floats(0, 0.99), st.randoms())
def test_splits_do_not_depend_on_the_order(items: list[str], share: float, chance: Any) -> None:
    shuffled = list(items)
    chance.shuffle(shuffled)
    splits = assign_splits(items, share)
    assert splits == assign_splits(shuffled, share)
    validation = sum(split == "validation" for split in splits.values())
    assert validation < len(items)
    assert abs(validation - share * len(items)) <= 1 or validation == len(items) - 1
    assert validation > 0 or share == 0 or len(items) == 1


@pytest.mark.slow
def test_a_profile_says_where_the_time_of_each_group_went(tiny_folder: str, tmp_path: Path) -> None:
    tasks = [{"name": name, "limit": 4} for name in ("truthful_mini_mc", "truthful_mini_gen")]
    some = grid(tiny_folder, tasks=tasks, seeds={"fit": [0]}, run={"profile": True})
    out = tmp_path / "run"
    assert run_grid(some, out, None, lambda line: None).failed == ()
    first, second = read_profiles(LocalStorage(out))
    assert (first.task, second.task) == ("truthful_mini_gen", "truthful_mini_mc")
    assert {first.cells, second.cells} == {4}
    # Both groups use the same steerers, which the first to run has fitted: what is written.
    assert ("fitting" in first.seconds) != ("fitting" in second.seconds)
    for profile in (first, second):
        assert {"fitting", *profile.seconds} == set(PHASES)
        assert all(seconds >= 0 for seconds in profile.seconds.values())
        assert profile.seconds["continuations"] > 0 < profile.seconds["steering"]
    assert "Where the time went" in build_report(RunFolder(out)).read_text()
    without = dataclasses.replace(some, run=dataclasses.replace(some.run, profile=False))
    assert run_grid(without, tmp_path / "plain", None, lambda line: None).failed == ()
    assert read_profiles(LocalStorage(tmp_path / "plain")) == []
    assert rows(tmp_path / "plain") == rows(out)


@pytest.mark.slow
def test_cells_are_computed_twice_for_the_noise_floor(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another batch size; the rows of all others are what they are without."""
    sizes: set[int] = set()
    generate = steered_lm.SteeredLM._model_generate

    def watched(self: Any, context: Any, *rest: Any, **options: Any) -> Any:
        sizes.add(len(context))
        return generate(self, context, *rest, **options)

    monkeypatch.setattr(steered_lm.SteeredLM, "_model_generate", watched)
    tasks = [{"name": "truthful_mini_mc", "limit": 4}, {"name": "truthful_mini_gen", "limit": 4}]
    methods = ["none", {"name": "caa", "strengths": [1]}]
    some = {"tasks": tasks, "methods": methods}
    plain, noise = tmp_path / "plain", tmp_path / "noise"
    assert run_grid(grid(tiny_folder, **some), plain, None, lambda line: None).failed == ()
    assert sizes == {12}
    twice = grid(tiny_folder, noise_floor={"method": "caa", "batch_size": 3}, **some)
    summary = run_grid(twice, noise, None, lambda line: None)
    assert (summary.planned, summary.failed) == (6 + 4, ())
    assert sizes == {12, 2 * 3, 2 * 1}
    again = {cell.id: cell for cell in make_plan(twice) if cell.is_repeat}
    assert [row for row in rows(noise) if row["cell_id"] not in again] == rows(plain)
    assert {row["method"] for row in rows(noise) if row["cell_id"] in again} == {
        "none (repeated)",
        "caa (repeated)",
    }
    records = RunFolder(noise).records()
    assert {record.batch_size for name, record in records.items() if name in again} == {3}
    assert {record.batch_size for name, record in records.items() if name not in again} == {32}
    floors = analyse(RunFolder(noise)).noise_floors
    assert {floor.cell.arm.method for floor in floors} == {"none", "caa"}
    assert {floor.task.name for floor in floors} == {"truthful_mini_mc", "truthful_mini_gen"}
    assert all(floor.batch_sizes == (32, 3) for floor in floors)
    assert max(floor.largest for floor in floors if floor.metric.name == "mc2") < 1e-4


@pytest.mark.slow
def test_long_groups_are_cut(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of a group give what the group gives, and a second start has the same parts."""
    one = grid(tiny_folder, seeds={"fit": [0]})
    assert run_grid(one, tmp_path / "whole", None, lambda line: None).failed == ()
    monkeypatch.setattr("steereval.harness.run.group_parts.CORE_FLOPS", 1e3)
    assert run_grid(one, tmp_path / "parts", None, lambda line: None).failed == ()
    whole, parts = (answers(tmp_path / name) for name in ("whole", "parts"))
    assert parts == pytest.approx(whole, abs=1e-4)
    groups = [record.group for record in RunFolder(tmp_path / "parts").records().values()]
    assert {group.cells for group in groups if group is not None} == {1}
    victim = sorted((tmp_path / "parts" / "cells").glob("*.json"))[0]
    stored = {
        name: record.group for name, record in RunFolder(tmp_path / "parts").records().items()
    }
    victim.unlink()
    # On a machine where the whole group would be one part.
    monkeypatch.undo()
    again = run_grid(one, tmp_path / "parts", None, lambda line: None)
    assert again.reused == again.planned - 1
    records = RunFolder(tmp_path / "parts").records()
    assert {name: record.group for name, record in records.items()} == stored
