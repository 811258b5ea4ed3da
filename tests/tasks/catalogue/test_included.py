"""A user's own folder of tasks: which files belong, their hash, and what lm-eval loads of them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from own_tasks import SIZES, write_own_tasks

from steereval.common.errors import InputError, TaskError, UnknownNameError
from steereval.common.folders import note_contents
from steereval.tasks.catalogue import included
from steereval.tasks.catalogue.cards import card, expanded_tasks, load_tasks
from steereval.tasks.catalogue.included import (
    IncludedFiles,
    check_names,
    included_folder,
    read_included,
)
from steereval.tasks.catalogue.index import names_in
from steereval.tasks.catalogue.task_group import TaskGroup, scored_documents


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_own_tasks(tmp_path / "own")


def published(folder: Path) -> str:
    files = read_included(folder)
    files.publish()
    return files.content_hash


def test_only_what_belongs_is_read(folder: Path) -> None:
    expected = set(read_included(folder).files)
    for name in (".env", ".git/config", "__pycache__/utils.pyc", "runs/a/cells/b.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("SECRET")
    (folder / "runs" / "a" / "manifest.json").write_text("{}")
    (folder / "grid.yaml").write_text("name: g\n")
    assert set(read_included(folder, folder / "grid.yaml").files) == expected
    assert "data/own_animals.jsonl" in expected


def test_a_link_that_leads_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InputError, match=r"link\.txt leads out"):
        read_included(folder)


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_BYTES"])
def test_a_large_folder_is_refused(
    folder: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(included, limit, 2)
    with pytest.raises(InputError, match="more than"):
        read_included(folder)


def test_the_hash_follows_content_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    first = read_included(folder)
    moved = folder.rename(tmp_path / "moved")
    assert read_included(moved).content_hash == first.content_hash
    (moved / "utils.py").write_text((moved / "utils.py").read_text() + "# changed\n")
    assert read_included(moved).content_hash != first.content_hash
    assert read_included(first.publish()) == first


def test_paths_of_data_become_relative_to_the_task(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the current folder, as lm-eval has them, and full paths; others stay as they are."""
    monkeypatch.chdir(folder.parent)
    task = folder / "own_plants.yaml"
    plain = read_included(folder)
    relative = task.read_text()
    for data in ("own/data/own_plants.jsonl", str(folder / "data" / "own_plants.jsonl")):
        task.write_text(relative.replace("data/own_plants.jsonl", data))
        assert read_included(folder) == plain
    task.write_text(relative.replace("data/own_plants.jsonl", "https://host/plants.jsonl"))
    assert b"https://host/plants.jsonl" in read_included(folder).files["own_plants.yaml"]


def test_data_outside_of_the_folder_does_not_travel(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "other.jsonl").write_text("{}\n")
    task = folder / "own_plants.yaml"
    task.write_text(task.read_text().replace("data/own_plants.jsonl", "other.jsonl"))
    with pytest.raises(TaskError, match=r"other\.jsonl, which lies outside"):
        read_included(folder)


def test_aliases_do_not_multiply(folder: Path) -> None:
    """Nine levels of nine aliases each stand for 400 million nodes."""
    lines = ["a0: &a0 {data_files: data/own_plants.jsonl}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (folder / "many.yaml").write_text("\n".join(lines))
    assert b"data/own_plants.jsonl" in read_included(folder).files["many.yaml"]


def test_a_task_file_that_does_not_parse_is_named(folder: Path) -> None:
    (folder / "broken.yaml").write_text("task: x\n  bad: [\n")
    with pytest.raises(TaskError, match=r"broken\.yaml .* line 2"):
        read_included(folder)


def test_tasks_are_loaded_without_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that was sent the files and nothing else."""
    sent = IncludedFiles(dict(read_included(folder).files))
    folder.rename(tmp_path / "away")
    monkeypatch.chdir("/")
    sent.publish()
    task = load_tasks(["own_animals"], None, sent.content_hash)["own_animals"]
    assert [doc["question"] for doc in task.eval_docs] == [f"own_animals {n}?" for n in range(6)]
    scored = task.process_results(task.eval_docs[0], [(-1.0, True), (-3.0, False), (-4.0, False)])
    assert scored == {"acc": 1.0, "margin": 2.0}


def test_a_published_file_that_was_edited_is_written_again(folder: Path) -> None:
    files = read_included(folder)
    copy = files.publish() / "utils.py"
    copy.write_text("raise SystemExit")
    files.publish()
    assert copy.read_bytes() == files.files["utils.py"]


def test_files_that_are_not_here(folder: Path) -> None:
    with pytest.raises(TaskError, match="not on this machine"):
        included_folder(read_included(folder).content_hash)


def test_a_hash_leads_to_no_other_folder(folder: Path, tmp_path: Path) -> None:
    """Code that came with somebody else's run is not loaded by a path in its manifest."""
    copy = read_included(folder).publish()
    evil = tmp_path / "archive" / "own_tasks"
    shutil.copytree(copy, evil)
    name = os.path.relpath(evil, copy.parent)
    note_contents(evil, name)
    with pytest.raises(TaskError, match="not on this machine"):
        included_folder(name)


def test_the_code_of_a_task_fails(folder: Path) -> None:
    (folder / "utils.py").write_text("1 / 0\n")
    include_hash = published(folder)
    with pytest.raises(TaskError, match=r"own_plants.*ZeroDivisionError"):
        load_tasks(["own_plants"], None, include_hash)


def test_cards_of_own_tasks_and_groups(folder: Path) -> None:
    include_hash = published(folder)
    assert names_in(include_hash) >= {
        "own_animals",
        "own_plants",
        "own_micro",
        "own_macro",
        "own_tag",
    }
    task = card("own_animals", include_hash)
    assert list(task.metrics) == ["acc", "margin"]
    assert task.benchmark is None
    for name, is_mean in (("own_micro", False), ("own_macro", True)):
        group = card(name, include_hash)
        assert group.subtasks == tuple(SIZES)
        assert {m.is_mean_of_subtasks for m in group.metrics.values()} == {is_mean}
    with pytest.raises(TaskError, match="without a score"):
        card("own_bare", include_hash)


@pytest.mark.slow
def test_the_nearest_own_task_is_named(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'own_plants'"):
        card("own_plant", published(folder))


def test_an_own_task_hides_one_of_the_same_name(folder: Path) -> None:
    """Neither our card nor the published benchmark is taken for it."""
    path = folder / "own_plants.yaml"
    path.write_text(path.read_text().replace("task: own_plants", "task: truthfulqa_mc1"))
    include_hash = published(folder)
    assert card("truthfulqa_mc1", include_hash).benchmark is None
    assert card("truthfulqa_mc1").benchmark == "truthfulqa"
    loaded = load_tasks(["truthfulqa_mc1"], None, include_hash)["truthfulqa_mc1"]
    assert len(loaded.eval_docs) == SIZES["own_plants"]


def test_what_names_stand_for(folder: Path) -> None:
    include_hash = published(folder)
    both = ("own_animals", "own_plants")
    assert expanded_tasks("own_bare", include_hash) == both
    assert expanded_tasks("own_tag", include_hash) == both
    assert expanded_tasks("own_micro", include_hash) == ("own_micro",)
    assert expanded_tasks("own_plants", include_hash) == ("own_plants",)
    assert expanded_tasks("truthful_mini_mc") == ("truthful_mini_mc",)


def test_a_group_is_loaded_as_one(folder: Path) -> None:
    include_hash = published(folder)
    group = load_tasks(["own_micro"], None, include_hash)["own_micro"]
    assert isinstance(group, TaskGroup)
    assert {name: len(task.eval_docs) for name, task in group.members.items()} == SIZES
    assert [name for name, _ in scored_documents(group, 4)] == ["own_animals"] * 4 + [
        "own_plants"
    ] * 3


@pytest.mark.slow
def test_a_group_of_tasks_of_lm_eval(folder: Path) -> None:
    """Its own tasks, one of lm-eval's, and one that is defined in the group."""
    inline = {
        "task": "inline", "dataset_path": "json", "output_type": "multiple_choice",
        "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    members = json.dumps(
        ["own_plants", "arc_easy", inline, {"group": "g", "task": ["own_animals"]}]
    )
    text = f"group: mixed\ntask: {members}\naggregate_metric_list: [{{metric: acc}}]\n"
    (folder / "mixed.yaml").write_text(text)
    described = card("mixed", published(folder))
    assert described.subtasks == ("own_plants", "arc_easy", "mixed::inline", "own_animals")


@pytest.mark.slow
def test_groups_of_lm_eval() -> None:
    assert len(card("mmlu").subtasks) == 57
    assert card("mmlu").metrics["acc"].kind == "binary"
    assert {"acc", "acc_norm", "exact_match"} <= set(card("leaderboard").metrics)
    assert expanded_tasks("ai2_arc") == ("arc_challenge", "arc_easy")


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"a": ["a"]}, "holds itself"),
        ({"a": ["b"], "b": ["a"]}, "a' holds itself"),
    ],
)
def test_a_group_that_holds_itself_is_refused(
    tmp_path: Path, groups: dict[str, list[str]], words: str
) -> None:
    for name, members in groups.items():
        text = json.dumps({"group": name, "task": members})
        (tmp_path / f"{name}.yaml").write_text(text)
    files = read_included(tmp_path)
    files.publish()
    with pytest.raises(TaskError, match=words):
        expanded_tasks("a", files.content_hash)


def test_two_files_that_define_one_name_are_refused(folder: Path) -> None:
    """lm-eval logs a line and takes the first of them."""
    check_names(read_included(folder))
    (folder / "again.yaml").write_text(f"task: {next(iter(SIZES))}\ngroup: x\n")
    with pytest.raises(TaskError, match="both define"):
        check_names(read_included(folder))


def test_a_tag_of_old_may_stand_in_several_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\ngroup: both\n")
    check_names(read_included(tmp_path))
