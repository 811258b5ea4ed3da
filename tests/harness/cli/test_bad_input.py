"""Bad input of every kind: one clear sentence, a non-zero status, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from steereval.harness.cli.main import main
from steereval.models.artefacts.artefact import CARD, TENSORS

Arguments = list[str]
Case = tuple[Callable[["Workbench"], Arguments], str]


class Workbench:
    """A folder, a small model, and ways to write bad files."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder
        self.model = model

    def path(self, name: str, text: str | bytes = "") -> str:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def grid(self, **changes: Any) -> str:
        data: dict[str, Any] = {
            "name": "g",
            "models": [{"name": self.model, "layers": [1]}],
            "contrast": {"name": "truthful-mini", "answers": "best"},
            "methods": ["none", {"name": "caa", "strengths": [1]}],
            "tasks": [{"name": "truthful_mini_mc", "limit": 2}],
        }
        return self.path("grid.yaml", yaml.safe_dump(data | changes))

    def run(self, **changes: Any) -> Arguments:
        return ["run", self.grid(**changes), "--out", str(self.folder / "run")]

    def pairs(self, text: str | bytes) -> str:
        return self.path("pairs.jsonl", text)

    def fit(self, **changes: str) -> Arguments:
        values = {
            "model": self.model,
            "method": "caa",
            "contrast": "truthful-mini",
            "layer": "1",
            "out": str(self.folder / "steerer"),
        } | changes
        return ["fit", *(f"--{name}={value}" for name, value in values.items())]

    def finished_run(self) -> Path:
        folder = self.folder / "run"
        if not folder.exists():
            assert main([*self.run(), "--no-report"]) == 0
        return folder

    def steerer(self) -> Path:
        folder = self.folder / "steerer"
        if not folder.exists():
            assert main(self.fit(answers="best", fraction="0.2")) == 0
        return folder


def truncated_rows(bench: Workbench) -> Arguments:
    folder = bench.finished_run()
    victim = next((folder / "cells").glob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-20])
    return ["report", str(folder)]


def damaged_record(bench: Workbench) -> Arguments:
    folder = bench.finished_run()
    next((folder / "cells").glob("*.json")).write_text("{")
    return ["report", str(folder)]


def another_schema(bench: Workbench) -> Arguments:
    folder = bench.finished_run()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    return ["report", str(folder)]


def another_grid(bench: Workbench) -> Arguments:
    bench.finished_run()
    return bench.run(
        methods=[{"name": "caa", "strengths": [9]}], analysis={"baseline": "caa"}, positions="all"
    )


def in_the_way(bench: Workbench) -> Arguments:
    return ["run", bench.grid(), "--out", bench.path("file") + "/run"]


def without_tokenizer(bench: Workbench) -> Arguments:
    import shutil

    bare = bench.folder / "bare"
    shutil.copytree(bench.model, bare)
    for file in bare.glob("*token*"):
        file.unlink()
    return bench.run(models=[{"name": str(bare), "layers": [1]}])


def vector(bench: Workbench, width: int, layer: int = 1) -> dict[str, Any]:
    """A method that adds a vector of the file."""
    import torch

    path = bench.folder / "vector.pt"
    torch.save({layer: torch.ones(width)}, path)
    return {"name": "vector", "strengths": [1], "options": {"path": str(path)}}


def without_chat_template(bench: Workbench) -> dict[str, Any]:
    """A model for a grid, with a tokenizer that has no chat template."""
    import json
    import shutil

    bare = bench.folder / "no-template"
    shutil.copytree(bench.model, bare)
    for file in bare.glob("chat_template*"):
        file.unlink()
    settings = bare / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    content.pop("chat_template", None)
    settings.unlink()
    settings.write_text(json.dumps(content))
    return {"name": str(bare), "layers": [1], "chat_template": True}


def nan_weights(bench: Workbench) -> Arguments:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = bench.folder / "nan"
    model = AutoModelForCausalLM.from_pretrained(bench.model)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bench.model).save_pretrained(folder)
    return bench.fit(model=str(folder), fraction="0.1")


CASES: dict[str, Case] = {
    "no command": (lambda b: [], "no command was given"),
    "misspelt command": (lambda b: ["rnu"], "Did you mean 'run'"),
    "missing grid file": (lambda b: ["run", "no.yaml", "--out", "x"], "no.yaml cannot be read"),
    "broken YAML": (lambda b: ["plan", b.path("g.yaml", "name: [")], "not valid YAML at line"),
    "key given twice": (lambda b: ["plan", b.path("g.yaml", "name: a\nname: b")], "given twice"),
    "unknown key": (lambda b: ["plan", b.grid(methds=[])], "Did you mean 'methods'"),
    "misspelt method": (
        lambda b: ["plan", b.grid(methods=["none", {"name": "odester", "strengths": [1]}])],
        "Did you mean 'odesteer'",
    ),
    "misspelt option": (
        lambda b: [
            "plan",
            b.grid(
                methods=["none", {"name": "odesteer", "strengths": [1], "options": {"stps": 3}}]
            ),
        ],
        "Did you mean 'steps'",
    ),
    "option out of range": (
        lambda b: [
            "plan",
            b.grid(
                methods=["none", {"name": "odesteer", "strengths": [1], "options": {"steps": 0}}]
            ),
        ],
        "options.steps is 0",
    ),
    "duplicate cells": (
        lambda b: [
            "plan",
            b.grid(
                methods=[
                    "none",
                    {"name": "caa", "strengths": [1], "label": "a"},
                    {"name": "caa", "strengths": [1], "label": "b"},
                ]
            ),
        ],
        "two cells of the grid are the same",
    ),
    "no nodes": (lambda b: ["plan", b.grid(), "--simulate", "0"], "--simulate is 0"),
    "failures of no cluster": (
        lambda b: ["plan", b.grid(), "--failures", "0.1"],
        "Add --simulate NODES",
    ),
    "zero limit": (lambda b: ["plan", b.grid(), "--limit", "0"], "--limit is 0"),
    "zero workers": (lambda b: [*b.run(), "--workers", "0"], "--workers is 0"),
    "layer out of range": (
        lambda b: b.run(models=[{"name": b.model, "layers": [3]}]),
        "layer 3 is out of range",
    ),
    "layer out of range in a plan": (
        lambda b: ["plan", b.grid(models=[{"name": b.model, "layers": [99]}])],
        "layer 99 is out of range",
    ),
    "chat template that the tokenizer lacks": (
        lambda b: b.run(models=[without_chat_template(b)]),
        "has no chat template",
    ),
    "chat template that the tokenizer lacks, in a plan": (
        lambda b: ["plan", b.grid(models=[without_chat_template(b)])],
        "has no chat template",
    ),
    "relative strengths of a rotation": (
        lambda b: b.run(
            methods=["none", {"name": "angular", "strengths": [1], "unit": "relative"}]
        ),
        "angular has no relative strengths",
    ),
    "relative strengths behind a gate": (
        lambda b: b.run(
            methods=[
                "none",
                {
                    "name": "conditional",
                    "strengths": [1],
                    "unit": "relative",
                    "options": {"method": "angular"},
                },
            ]
        ),
        "conditional has no relative strengths",
    ),
    "relative strengths of a file": (
        lambda b: b.run(
            methods=[
                "none",
                {
                    "name": "vector",
                    "strengths": [1],
                    "unit": "relative",
                    "options": {"path": "v.safetensors"},
                },
            ]
        ),
        "vector has no relative strengths",
    ),
    "vector of another width in a plan": (
        lambda b: ["plan", b.grid(methods=["none", vector(b, 9)])],
        "the vector for layer 1 in",
    ),
    "vector of another width": (
        lambda b: b.run(methods=["none", vector(b, 9)]),
        "has 9 entries, and the activations of",
    ),
    "vector for another layer": (
        lambda b: b.run(methods=["none", vector(b, 32, layer=2)]),
        "moves nothing at layers 1",
    ),
    "misspelt task in a plan": (
        lambda b: ["plan", b.grid(tasks=["truthful_mini_mx"])],
        "Did you mean 'truthful_mini_mc'",
    ),
    "relative run folder on a cluster": (
        lambda b: ["submit", b.grid(), "--address", "http://127.0.0.1:1", "--out", "runs/a"],
        "--out runs/a is relative",
    ),
    "missing model": (
        lambda b: b.run(models=[{"name": str(b.folder / "no-model"), "layers": [1]}]),
        "cannot be loaded",
    ),
    "model not fetched": (
        lambda b: b.run(models=[{"name": "gemma3-270m", "layers": [1]}]),
        "has not been fetched. Run `steereval models fetch gemma3-270m",
    ),
    "model without a tokenizer": (without_tokenizer, "cannot be loaded"),
    "misspelt task": (
        lambda b: b.run(tasks=["truthful_mini_mx"]),
        "Did you mean 'truthful_mini_mc'",
    ),
    "unknown metric": (
        lambda b: b.run(tasks=[{"name": "truthful_mini_mc", "metric": "mc3"}]),
        "has no metric 'mc3'",
    ),
    "unknown metric to choose by": (
        lambda b: b.run(select={"metric": "accuracy"}),
        "select.metric is 'accuracy'",
    ),
    "benchmark data missing": (
        lambda b: [*b.run(tasks=["truthfulqa_mc1"]), "--data-dir", str(b.folder)],
        "truthfulqa",
    ),
    "data folder missing": (
        lambda b: [*b.run(), "--data-dir", str(b.folder / "none")],
        "does not exist",
    ),
    "misspelt contrast": (lambda b: b.fit(contrast="truthfull-mini"), "'truthful-mini'"),
    "empty contrast": (lambda b: b.fit(contrast=b.pairs("")), "pairs.jsonl"),
    "contrast of one class": (
        lambda b: b.fit(contrast=b.pairs('{"answer": "a", "label": 1}\n')),
        "pairs.jsonl",
    ),
    "contrast that is not JSON": (lambda b: b.fit(contrast=b.pairs("a, b\n")), "line 1"),
    "contrast with an unknown key": (
        lambda b: b.fit(contrast=b.pairs('{"positve": "a", "negative": "b"}\n')),
        "positve",
    ),
    "same texts in both classes": (
        lambda b: b.fit(contrast=b.pairs('{"positive": "a", "negative": "a"}\n')),
        "pairs.jsonl",
    ),
    "contrast that is missing": (lambda b: b.fit(contrast="none.jsonl"), "none.jsonl"),
    "activations that are not finite": (nan_weights, "not finite"),
    "layer that is no number": (lambda b: b.fit(layer="top"), "names no blocks"),
    "fraction out of range": (lambda b: b.fit(fraction="2"), "--fraction is 2.0"),
    "option without a value": (lambda b: b.fit(option="steps"), "has no value"),
    "method that fits nothing": (lambda b: b.fit(method="none"), "gives no steerer"),
    "unwritable folder for the steerer": (
        lambda b: b.fit(out=b.path("file") + "/steerer", answers="best", fraction="0.1"),
        "cannot be written",
    ),
    "unwritable run folder": (in_the_way, "/run"),
    "no run folder": (lambda b: ["report", str(b.folder)], "no manifest.json"),
    "truncated rows": (truncated_rows, ".parquet"),
    "damaged record": (damaged_record, "is damaged"),
    "unknown schema": (another_schema, "99"),
    "another grid's run folder": (another_grid, "holds another run"),
    "unknown asset": (lambda b: ["models", "fetch", "smollm"], "Did you mean 'smollm2-135m'"),
    "nothing to fetch": (lambda b: ["tasks", "fetch"], "nothing to fetch was named"),
}


@pytest.fixture
def bench(tmp_path: Path, tiny_folder: str) -> Workbench:
    return Workbench(tmp_path, tiny_folder)


@pytest.mark.parametrize(("make", "message"), CASES.values(), ids=CASES.keys())
def test_bad_input(
    bench: Workbench,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Workbench], Arguments],
    message: str,
) -> None:
    monkeypatch.delenv("STEEREVAL_DATA", raising=False)
    arguments = make(bench)
    if "not been fetched" in message:
        monkeypatch.setenv("STEEREVAL_CACHE", str(bench.folder / "cache"))
    capsys.readouterr()
    status = main(arguments)
    error = capsys.readouterr().err
    assert status != 0
    last = error.strip().splitlines()[-1]
    assert "error: " in last, error
    assert message in last, last
    assert "Traceback" not in error


def test_there_are_thirty_kinds() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize("damage", ["truncated", "changed", "no card", "other version"])
def test_damaged_artefacts_are_refused(bench: Workbench, damage: str) -> None:
    from steereval.common.errors import ArtefactError
    from steereval.models.artefacts.artefact import load_artefact

    folder = bench.steerer()
    tensors, card = folder / TENSORS, folder / CARD
    if damage == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-7])
    elif damage == "changed":
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(bytes(data))
    elif damage == "no card":
        card.unlink()
    else:
        card.write_text(json.dumps(json.loads(card.read_text()) | {"format_version": 0}))
    with pytest.raises(ArtefactError, match=str(folder)):
        load_artefact(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_run_folder_is_said(
    bench: Workbench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.folder.chmod(0o500)
    try:
        assert main(["run", bench.grid(), "--out", str(bench.folder / "run")]) != 0
    finally:
        bench.folder.chmod(0o700)
    assert "run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_stops_is_not_an_error() -> None:
    """As in `steereval methods | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "steereval", "methods"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


def test_power_takes_no_names_without_a_pilot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--var-item", "0.2", "--method", "caa"]) == 2
    assert "Give its run folder" in capsys.readouterr().err
    assert main(["power", "--var-item", "0.2", "--power", "1.5"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_failure_is_printed_once(bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["none", {"name": "caa", "strengths": [1e30]}]
    capsys.readouterr()
    assert main(bench.run(methods=methods)) == 1
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("that are not finite") == 1
