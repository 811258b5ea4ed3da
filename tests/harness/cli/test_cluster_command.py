"""`steereval cluster`: what it prints, and input that it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_grid import small_grid

from steereval.harness.cli.main import main
from steereval.results.store.run_folder import RunFolder

GRID = {
    "name": "g",
    "models": [{"name": "smollm2-135m", "layers": [14], "gpus": 2}],
    "contrast": "mine/pairs.jsonl",
    "methods": ["none", {"name": "caa", "strengths": [1]}],
    "tasks": ["truthful_mini_mc"],
}


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/pairs.jsonl").write_text('{"question": "Q?", "positive": "a", "negative": "b"}\n')
    Path("grid.yaml").write_text(yaml.safe_dump(GRID))
    return "grid.yaml"


KUBERAY = ["--nodes", "2", "--image", "i:1", "--out", "s3://bucket/run"]


def test_a_ray_job_carries_the_grid_and_its_files(
    grid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "kuberay", grid, *KUBERAY, "--gpus-per-node", "4"]) == 0
    config, job = yaml.safe_load_all(capsys.readouterr().out)
    (volume,) = (
        volume["configMap"]
        for volume in job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    )
    files = {item["path"]: config["data"][item["key"]] for item in volume["items"]}
    assert files.keys() == {"start.sh", "grid.yaml", "mine/pairs.jsonl"}
    assert files["grid.yaml"] == Path(grid).read_text()
    assert "--out s3://bucket/run" in files["start.sh"]


def test_a_slurm_script_names_full_paths(
    grid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "slurm", grid, "--nodes", "3", "--out", "runs/mine"]) == 0
    text = capsys.readouterr().out
    assert f" run {tmp_path}/grid.yaml --out {tmp_path}/runs/mine " in text
    assert f"#SBATCH --chdir={tmp_path}\n" in text, "the grid names files by paths relative to it"
    assert main(["cluster", "slurm", grid, "--nodes", "3", "--out", "s3://bucket/run"]) == 0
    assert " --out s3://bucket/run " in capsys.readouterr().out


@pytest.mark.chaos
def test_a_slurm_script_runs_on_a_real_ray(
    tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two nodes on this machine; only Slurm's own programs are stubs."""
    grid, out = tmp_path / "grid.yaml", tmp_path / "run"
    grid.write_text(yaml.safe_dump(small_grid(tiny_folder)))
    command = ["cluster", "slurm", str(grid), "--nodes", "2", "--out", str(out)]
    assert main([*command, "--gpus-per-node", "0", "--cpus-per-node", "1"]) == 0
    (tmp_path / "job.sh").write_text(capsys.readouterr().out)
    for name, text in {
        "srun": 'while [[ $1 == -* ]]; do shift; done; exec "$@"',
        "scontrol": "echo n1; echo n2",
        "hostname": "echo 127.0.0.1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    id = str(os.getpid())
    environment = os.environ | {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": id,
        "SLURM_JOB_NODELIST": "n[1-2]",
    }
    done = subprocess.run(
        ["bash", tmp_path / "job.sh"], env=environment, capture_output=True, text=True, timeout=400
    )
    shutil.rmtree(f"/tmp/ray-{id}", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    assert len(RunFolder(out).finished()) == 42


def test_a_cluster_file_says_how_it_is_used(grid: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "ray-up", grid, "--nodes", "3", "--image", "i:1"]) == 0
    text = capsys.readouterr().out
    assert "# steereval submit grid.yaml --address" in text
    data: dict[str, Any] = yaml.safe_load(text)
    assert data["cluster_name"] == "steereval-g"
    assert data["docker"]["image"] == "i:1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kuberay", *KUBERAY, "--nodes", "0"], "--nodes is 0"),
        (["kuberay", *KUBERAY, "--gpus-per-node", "1"], "takes 2 GPUs, and a node has 1"),
        (["kuberay", *KUBERAY, "--out", "runs/mine"], "would be lost with its container"),
        (["slurm", "--nodes", "1", "--out", "r", "--cpus-per-node", "0"], "--cpus-per-node is 0"),
    ],
)
def test_bad_input(
    grid: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", arguments[0], grid, *arguments[1:]]) == 2
    assert message in capsys.readouterr().err


def test_a_misspelt_kind_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "slrm", "grid.yaml"]) == 2
    assert "'slurm'" in capsys.readouterr().err
