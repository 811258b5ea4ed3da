"""`~` means the home folder wherever a path may stand, and there is one cache folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import steereval.common.paths
from steereval.harness.cli.index import cli
from steereval.harness.cli.main import main
from steereval.harness.config.grid import LayerSet, ModelSpec, parse_grid
from steereval.harness.config.model_args import split_options
from steereval.harness.engine.loading import WorkerSettings
from steereval.harness.planning.plan import files_of, make_plan
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.run.worker import CellWorker
from steereval.models.methods.registry import get_method

PAIRS = [{"question": f"Is {n}?", "positive": "Yes.", "negative": "No."} for n in range(12)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a contrast file and a vector."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    save_file({"layer.1": torch.ones(4)}, tmp_path / "vector.safetensors")
    return tmp_path


def grid(**changes: Any) -> Any:
    data: dict[str, Any] = {
        "name": "g",
        "models": [{"name": "~/model", "peft": "~/adapter", "layers": [1]}],
        "contrast": "~/mine.jsonl",
        "methods": [
            "none",
            {"name": "caa", "strengths": [1]},
            {"name": "vector", "strengths": [1], "options": {"path": "~/vector.safetensors"}},
        ],
        "tasks": [{"name": "truthful_mini_gen", "judges": [{"name": "truth", "model": "~/judge"}]}],
    }
    return parse_grid(data | changes)


def test_every_path_of_a_grid(home: Path) -> None:
    resolved = grid()
    assert resolved.models[0].name == str(home / "model")
    assert resolved.models[0].peft == str(home / "adapter")
    assert resolved.contrast.name == str(home / "mine.jsonl")
    assert resolved.tasks[0].judges[0].model == str(home / "judge")
    assert set(files_of(resolved)) == {home / "mine.jsonl", home / "vector.safetensors"}
    cells = make_plan(resolved)
    assert [bool(cell.files_digest) for cell in cells] == [False, True, True]
    contrast = cells[1].contrast
    assert contrast is not None
    assert len(TaskResources(None).contrast(contrast).statements) == 2 * len(PAIRS)
    assert get_method("vector").options({"path": "~/vector.safetensors"}).path == str(
        home / "vector.safetensors"
    )


def test_names_that_are_not_paths_stay_as_they_are() -> None:
    for name in ("org/model", "./model", "truthful-mini", "s3://bucket/run", "a~b"):
        assert steereval.common.paths.expanded(name) == name


def parameters(name: str, *words: str) -> dict[str, Any]:
    """What the callback of a command gets."""
    return cli.commands[name].make_context(name, list(words)).params


def test_every_path_of_the_command_line(home: Path) -> None:
    for words, name in (
        (["plan", "~/g.yaml", "--data-dir=~/d"], "data_dir"),
        (["run", "g.yaml", "--out=~/d"], "out"),
        (["report", "~/d", "~/e"], "runs"),
        (["verify", "r", "--report=~/d"], "report_dir"),
        (["import", "~/d", "--into=~/d", "--label", "x"], "samples"),
        (["fit", "--model=~/d", "--method", "caa", "--contrast=~/c.jsonl", "--layer=1",
          "--out=~/o"], "model"),
    ):  # fmt: skip
        value = parameters(*words)[name]
        assert (value[0] if isinstance(value, tuple) else value) == str(home / "d")


def test_folders_of_a_cluster_have_its_home(home: Path) -> None:
    words = ["submit", "~/g.yaml", "--address", "http://x", "--out=~/run", "--data-dir=~/d"]
    values = parameters(*words)
    assert (values["grid"], values["out"]) == (str(home / "g.yaml"), "~/run")
    assert values["data_dir"] == "~/d"


def test_model_arguments(home: Path) -> None:
    given = {"method": "caa", "contrast": "~/c.jsonl", "data_dir": "~/d", "peft": "~/p"}
    steering, _, loader = split_options(given)
    assert (steering.contrast, steering.data_dir) == (str(home / "c.jsonl"), str(home / "d"))
    assert loader["peft"] == str(home / "p")


def test_a_data_folder_by_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "g.yaml").write_text(
        "name: g\nmodels: [{name: m, layers: [1]}]\nmethods: [none]\ntasks: [truthful_mini_mc]\n"
    )
    monkeypatch.setenv("STEEREVAL_DATA", "~/nowhere")
    assert main(["plan", "~/g.yaml"]) == 2
    assert str(home / "nowhere") in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["STEEREVAL_CACHE", "XDG_CACHE_HOME"])
def test_there_is_one_cache_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("STEEREVAL_CACHE", raising=False)
    monkeypatch.setenv(variable, "~/x")
    assert str(steereval.common.paths.cache_folder()).startswith(str(home / "x"))


FULL = ModelSpec(
    name="m", layers=(LayerSet("1"), LayerSet("2")), dtype="bfloat16", revision="r", peft="p",
    chat_template=True, gpus=2.0,
)  # fmt: skip
"""No field has its default."""


def test_a_model_without_its_layers_keeps_every_other_field() -> None:
    for spec in dataclasses.fields(ModelSpec):
        assert getattr(FULL, spec.name) != spec.default, spec.name
        same = getattr(FULL.without_layers(), spec.name) == getattr(FULL, spec.name)
        assert same == (spec.name != "layers"), spec.name


def test_workers_load_the_whole_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of cells and those of diagnoses, which once lost `chat_template`."""
    from steereval.harness.diagnose import command
    from steereval.harness.diagnose.command import DiagnoseWorker
    from steereval.harness.run import worker

    loaded: list[ModelSpec] = []

    def load(spec: ModelSpec, _: WorkerSettings) -> Any:
        loaded.append(spec)
        return object()

    monkeypatch.setattr("steereval.harness.planning.content.content_of_model", lambda _: {})
    monkeypatch.setattr(worker, "load_model", load)
    monkeypatch.setattr(command, "load_model", load)
    settings = WorkerSettings("", None, 1, "cpu")
    cell = dataclasses.replace(make_plan(grid(contrast="truthful-mini"))[0], model=FULL)
    CellWorker(settings)._model(cell.model)
    DiagnoseWorker(settings, print)._model(cell)
    assert loaded == [FULL.without_layers()] * 2
