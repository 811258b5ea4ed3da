"""The workflows of continuous integration: YAML that runs commands which the Makefile has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs_of(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values())


def targets_of(path: Path) -> set[str]:
    """The targets of `make` that the steps of a workflow run."""
    commands = [step.get("run", "") for job in jobs_of(path) for step in job["steps"]]
    return {target for command in commands for target in re.findall(r"make ([\w-]+)", command)}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_is_one_of_the_makefile(path: Path) -> None:
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert targets_of(path) <= known
    assert {"test", "test-chaos"} <= targets_of(path)


def test_the_oldest_python_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (job,) = jobs_of(ROOT / ".github" / "workflows" / "tests.yml")
    versions = job["strategy"]["matrix"]["python"]
    assert project["requires-python"] == f">={versions[0]}"
    assert versions == [f"3.{minor}" for minor in range(11, 11 + len(versions))]
