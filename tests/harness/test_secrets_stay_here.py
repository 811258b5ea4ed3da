"""A secret that is planted wherever one may stand is in no file, log or message."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from lm_eval_log import item_id, sample, write_log

from steereval.harness.cli.main import main
from steereval.harness.deploy import job_submission
from steereval.models.methods.caa import Caa

SECRET = "Zx9secretVALUE77"
TOKEN = f"hf_{SECRET}abcdef"


def assert_nowhere(folder: Path, *texts: str) -> None:
    """No file below `folder`, nor any of `texts`, holds the secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert [text for text in texts if SECRET in text] == []


@pytest.mark.slow
def test_errors_of_other_programs(
    tiny_folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A fit fails with a message that quotes a token and a header."""

    def failing(*_: Any) -> None:
        raise RuntimeError(f"401 for https://user:{SECRET}@hub, token={TOKEN}, Bearer {SECRET}")

    monkeypatch.setattr(Caa, "fit_site", failing)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    grid = {
        "name": "g",
        "models": [{"name": tiny_folder, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best"},
        "methods": ["none", {"name": "caa", "strengths": [1]}],
        "tasks": [{"name": "truthful_mini_mc", "limit": 2}],
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    assert main(["run", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "run")]) == 1
    assert main(["archive", str(tmp_path / "run"), "--out", str(tmp_path / "run.zip")]) == 0
    captured = capsys.readouterr()
    assert "[redacted]" in captured.err
    assert_nowhere(tmp_path, captured.out, captured.err)


@pytest.mark.parametrize(
    "model_args",
    [f"pretrained=tiny,token={TOKEN}", {"pretrained": "tiny", "use_auth_token": SECRET}],
)
def test_imported_model_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model_args: Any
) -> None:
    logs = write_log(
        tmp_path / "logs",
        [sample(number, {"acc": 1.0}) for number in range(4)],
        config={"model": "hf", "model_args": model_args},
    )
    methods = (FakeMethod("helps", (1.0,), lambda task, strength: 0.3),)
    fake = FakeRun(methods, (FakeTask("truth", metric="acc", item_id=item_id),))
    run = write_run(fake, tmp_path / "run")
    words = ["import", str(logs), "--into", str(run.path), "--label", "hf", "--model", "tiny"]
    assert main(words) == 0, capsys.readouterr().err
    captured = capsys.readouterr()
    assert any("[redacted]" in path.read_text() for path in run.path.glob("cells/*.json"))
    assert_nowhere(run.path, captured.out, captured.err)


@pytest.mark.parametrize(
    "address", [f"s3://KEY:{SECRET}@bucket/run", f"s3://bucket/run?secret_key={SECRET}"]
)
@pytest.mark.parametrize("command", ["run", "submit", "status"])
def test_credentials_in_an_address_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, command: str
) -> None:
    grid = {
        "name": "g",
        "models": [{"name": "smollm2-135m", "layers": [1]}],
        "contrast": "truthful-mini",
        "methods": ["none", {"name": "caa", "strengths": [1]}],
        "tasks": ["truthful_mini_mc"],
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    words = {
        "run": ["run", str(tmp_path / "grid.yaml"), "--out", address],
        "submit": ["submit", str(tmp_path / "grid.yaml"), "--out", address, "--address", "http://x"],
        "status": ["status", address],
    }  # fmt: skip
    assert main(words[command]) == 2
    captured = capsys.readouterr()
    assert "credentials in its address" in captured.err
    assert_nowhere(tmp_path, captured.out, captured.err)


def test_files_that_hold_settings_of_a_run_are_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path))
    job_submission.remember(job_submission.Submitted("a-1", "http://x", "/run"))
    (file,) = (tmp_path / "runs").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["id"] == "a-1"
