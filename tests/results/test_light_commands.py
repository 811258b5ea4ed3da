"""What reads a run starts at once: it does without the libraries that run models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steereval.results.store.run_folder import RunFolder

PROGRAM = """
import json, sys
from steereval.harness.cli.main import main
heavy = {"torch", "transformers", "lm_eval", "ray", "datasets", "sklearn"}
for command in json.loads(sys.argv[1]):
    try:
        status = main(command)
    except SystemExit as end:
        status = end.code or 0
    print(json.dumps([command, status, sorted(heavy & set(sys.modules))]), file=sys.stderr)
"""
COMMANDS = [
    ["--help"],
    ["models"],
    ["tasks", "--path"],
    ["query", "RUN", "select count(*) from rows"],
    ["report", "RUN", "--out", "OUT/report"],
    ["report", "RUN", "OUT/other"],
    ["power", "RUN", "--effect", "0.03"],
    ["archive", "RUN", "--out", "OUT/run.zip"],
]


@pytest.mark.slow
def test_no_model_library_is_loaded(planted_run: RunFolder, tmp_path: Path) -> None:
    """All in one process, one after the other: the first that loads something is named."""
    shutil.copytree(planted_run.place.location, tmp_path / "other")
    given = json.dumps(COMMANDS).replace("RUN", planted_run.place.location)
    given = given.replace("OUT", str(tmp_path))
    program = [sys.executable, "-c", PROGRAM, given]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith('[["')]
    assert [json.loads(line) for line in lines] == [
        [command, 0, []] for command in json.loads(given)
    ]
