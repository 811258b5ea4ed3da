"""`steereval fit` and `steereval export` as typed, up to files that other programs read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file

from steereval.harness.cli.main import main
from steereval.models.artefacts.artefact import load_artefact
from steereval.models.steering.hook_points import Site


@pytest.fixture
def fit(tiny_folder: str, tmp_path: Path) -> Callable[..., Path]:
    def run(*arguments: str, method: str = "caa", layer: str = "1") -> Path:
        out = tmp_path / f"steerer{len(list(tmp_path.iterdir()))}"
        status = main(
            [
                *("fit", "--model", tiny_folder, "--method", method, "--layer", layer),
                *("--contrast", "truthful-mini", "--answers", "best", "--fraction", "0.2"),
                *("--device", "cpu", "--out", str(out), *arguments),
            ]
        )
        assert status == 0
        return out

    return run


@pytest.mark.parametrize(("layer", "sites"), [("1", [1]), ("0+2", [0, 2]), ("all", [0, 1, 2])])
def test_layers(fit: Callable[..., Path], layer: str, sites: list[int]) -> None:
    artefact = load_artefact(fit(layer=layer))
    assert list(artefact.steerers) == [Site(number) for number in sites]
    assert artefact.card["layers"] == layer


@pytest.mark.slow
def test_incremental_fits_differ_above_the_first_layer(fit: Callable[..., Path]) -> None:
    """And are the same where no layer lies below."""
    apart = load_artefact(fit(method="linact", layer="0+2"))
    options = ("--incremental", "1", "--positions", "all")
    built = load_artefact(fit(*options, method="linact", layer="0+2"))
    lower = {"strength": 1.0, "unit": "absolute", "positions": "all"}
    assert built.card["layer_by_layer"] == lower
    assert apart.card["layer_by_layer"] is None
    for site, same in ((Site(0), True), (Site(2), False)):
        one, other = apart.steerers[site].tensors(), built.steerers[site].tensors()
        assert torch.equal(one["source"], other["source"]) == same


@pytest.mark.slow
def test_training_shows_its_progress_and_keeps_its_curves(tiny_folder: str, tmp_path: Path) -> None:
    out = tmp_path / "steerer"
    command = [
        *(sys.executable, "-m", "steereval", "fit", "--model", tiny_folder, "--layer", "1"),
        *("--method", "hpr", "--option", "epochs=3", "--out", str(out), "--device", "cpu"),
        *("--contrast", "truthful-mini", "--answers", "best", "--fraction", "0.2"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "training hpr" in done.stderr
    curves = json.loads((out / "steerer.json").read_text())["training"]["1"]
    assert len(curves["train_loss"]) == len(curves["held_out_loss"]) == curves["epochs"] <= 3


def test_exports(
    fit: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steerer = fit(layer="1+2")
    steerers = load_artefact(steerer).steerers
    for name in ("v.safetensors", "v.gguf", "v.pt"):
        assert main(["export", str(steerer), "--out", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out.strip().endswith(name)
    plain = load_file(tmp_path / "v.safetensors")
    vectors = {t.name: torch.tensor(t.data) for t in gguf.GGUFReader(tmp_path / "v.gguf").tensors}
    steered = torch.load(tmp_path / "v.pt", weights_only=True)
    assert len(plain) == len(vectors) == len(steered) == 2
    for layer in (1, 2):
        wanted = steerers[Site(layer)].shift(1.0)
        assert torch.equal(plain[f"layer.{layer}"], wanted)
        assert torch.equal(vectors[f"direction.{layer}"], wanted)
        result = steered[f"layers.{layer}"]["steering_vector"].squeeze()
        torch.testing.assert_close(result, wanted)


def test_what_no_vector_can_say_is_refused(
    fit: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steerer = fit("--option", "components=64", method="odesteer")
    assert main(["export", str(steerer), "--out", str(tmp_path / "v.gguf")]) == 2
    assert "polynomial_flow" in capsys.readouterr().err
    assert not (tmp_path / "v.gguf").exists()
