"""Grids that are started again after what they are computed from, or what they ask for, changed.

Everything goes through the command line and is read from a run's files.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from changing_content import offline_hub, reweigh, write_truthfulqa
from command_line import GEN, MC, Grid, ask, grid, run
from safetensors.torch import load_file, save_file

from steereval.harness.cli.main import main

pytestmark = pytest.mark.slow


def scores(out: Path) -> list[tuple[Any, ...]]:
    return ask(out, "select strength, item_id, metric, value from rows order by all")


class Ingredients:
    """A model, a grid that needs it, and a way to change what is computed from."""

    def __init__(self, tiny: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch, self.options = folder / "model", patch, list[str]()
        shutil.copytree(tiny, self.folder)
        self.changes: Grid = {}
        self.name = str(self.folder)

    def grid(self, strengths: list[float]) -> Grid:
        return grid(self.name, strengths, **self.changes)

    def weights(self) -> Callable[[], object]:
        return lambda: reweigh(self.folder)

    def shard(self) -> Callable[[], object]:
        """Weights that only an index names, in a folder of their own."""
        whole, part = self.folder / "model.safetensors", self.folder / "parts/one.safetensors"
        part.parent.mkdir()
        whole.rename(part)
        index = {
            "metadata": {},
            "weight_map": dict.fromkeys(load_file(part), "parts/one.safetensors"),
        }
        (self.folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return lambda: reweigh(part.parent)

    def link(self) -> Callable[[], object]:
        """Weights elsewhere: a link that is led to another file."""
        whole = self.folder / "model.safetensors"
        store = self.folder.with_name("store")
        for name, scale in (("one", 1.0), ("two", 1.5)):
            (store / name).mkdir(parents=True)
            tensors = {key: scale * value for key, value in load_file(whole).items()}
            save_file(tensors, store / name / "weights", {"format": "pt"})
        whole.unlink()
        whole.symlink_to(store / "one/weights")

        def lead() -> None:
            whole.unlink()
            whole.symlink_to(store / "two/weights")

        return lead

    def adapter(self) -> Callable[[], object]:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        folder = self.folder.with_name("adapter")
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        base = AutoModelForCausalLM.from_pretrained(self.folder)
        get_peft_model(base, config).save_pretrained(str(folder))
        self.changes = {"models": [{"name": self.name, "layers": [1], "peft": str(folder)}]}
        return lambda: reweigh(folder)

    def template(self) -> Callable[[], object]:
        self.changes = {"models": [{"name": self.name, "layers": [1], "chat_template": True}]}
        path = self.folder / "chat_template.jinja"
        return lambda: path.write_text(path.read_text().replace("You are", "Be"))

    def branch(self) -> Callable[[], object]:
        move = offline_hub(self.name, self.folder.with_name("hub"), self.patch)
        move("a")
        reweigh(self.folder)
        self.name = "org/tiny"
        return lambda: move("b")

    def data(self) -> Callable[[], object]:
        folder = write_truthfulqa(self.folder.with_name("data"))
        self.changes = {"tasks": [{"name": "truthfulqa_mc1", "limit": 3}]}
        self.options = ["--data-dir", str(folder)]
        path = folder / "truthfulqa/mc_task.json"
        return lambda: path.write_text(path.read_text().replace("number 1?", "number one?"))


@pytest.mark.parametrize(
    ("ingredient", "named"),
    [
        ("weights", "model.safetensors"),
        ("shard", "parts/one.safetensors"),
        ("link", "model.safetensors"),
        ("adapter", "adapter_model.safetensors"),
        ("template", "chat_template.jinja"),
        ("branch", "b" * 12),
        ("data", "truthfulqa_mc1"),
    ],
)
def test_a_run_is_of_one_content(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], ingredient: str, named: str,
) -> None:  # fmt: skip
    """One more strength, after what the first cells were computed from has changed."""
    inputs, out = Ingredients(tiny_folder, tmp_path, monkeypatch), tmp_path / "run"
    change = getattr(inputs, ingredient)()
    assert run(inputs.grid([1]), out, *inputs.options) == 0
    before = scores(out)
    change()
    capsys.readouterr()
    assert run(inputs.grid([1, 2]), out, *inputs.options) == 2
    assert named in capsys.readouterr().err
    assert scores(out) == before
    assert main(["verify", str(out), *inputs.options]) == 1
    assert named in capsys.readouterr().out


def compared(out: Path) -> dict[tuple[str, str], str]:
    """Adjusted p-values by method and strength of the report's primary comparisons."""
    assert main(["report", str(out)]) == 0
    with (out / "report/leaderboard.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["primary"] == "true"]
    return {(row["method"], row["strengths"]): row["p_adjusted"] for row in rows}


def test_a_strength_that_left_the_grid_left_the_report(tiny_folder: str, tmp_path: Path) -> None:
    """Strengths [1, 4] become [2, 4], and then [1, 4] again; two grids share the folder."""
    for name in ("shared", "first", "second"):
        (tmp_path / name).mkdir()
    shared, reports = tmp_path / "shared/run", []
    given = [grid(tiny_folder, strengths) for strengths in ([1, 4], [2, 4])]
    for name, each in zip(("first", "second"), given, strict=True):
        assert run(each, tmp_path / name / "run") == 0
        reports.append(compared(tmp_path / name / "run"))
    for place in (0, 1, 0):
        assert run(given[place], shared) == 0
        assert compared(shared) == reports[place]
        assert main(["verify", str(shared)]) == 0
    assert main(["archive", str(shared), "--out", str(tmp_path / "run.zip")]) == 0
    shutil.unpack_archive(tmp_path / "run.zip", tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert compared(unpacked) == reports[0]


def test_a_raised_limit_leaves_a_row_for_each_item(tiny_folder: str, tmp_path: Path) -> None:
    """Of the task whose limit it is; a second task stays as it was."""
    few = GEN | {"limit": 2}
    for limit in (5, 8):
        tasks = [MC | {"limit": limit}, few]
        assert run(grid(tiny_folder, [1], tasks=tasks), tmp_path / "run") == 0
    sql = "select count(*), count(distinct item_id) from rows where metric = 'mc2' and strength = 1"
    assert ask(tmp_path / "run", sql) == [(8, 8)]
    assert main(["report", str(tmp_path / "run")]) == 0


def test_the_home_folder_means_the_same_everywhere(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contrast file and the cache folder, in `fit` and in a grid."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    pair = {"positive": "Yes.", "negative": "No."}
    pairs = [json.dumps({"question": f"Is {n}?"} | pair) for n in range(12)]
    (home / "mine.jsonl").write_text("\n".join(pairs))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("STEEREVAL_CACHE", "~/x")
    monkeypatch.chdir(here)
    words = ["--method", "caa", "--contrast", "~/mine.jsonl", "--layer", "1", "--out", "steerer"]
    assert main(["fit", "--model", tiny_folder, *words]) == 0
    assert run(grid(tiny_folder, [1], contrast="~/mine.jsonl"), tmp_path / "run") == 0
    assert [path.name for path in here.iterdir()] == ["steerer"]
    assert sorted(path.name for path in home.iterdir()) == ["mine.jsonl", "x"]
