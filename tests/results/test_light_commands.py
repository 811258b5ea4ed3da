"""What reads a run starts at once: it does without the libraries that run models."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steereval.results.store.run_folder import RunFolder

PROGRAM = """
import sys
from steereval.harness.cli.main import main
status = main(sys.argv[1:])
loaded = {"torch", "transformers", "lm_eval", "ray", "datasets", "sklearn"} & set(sys.modules)
print("loaded:", *sorted(loaded), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["models"],
        ["tasks", "--path"],
        ["query", "RUN", "select count(*) from rows"],
        ["report", "RUN", "--out", "OUT/report"],
        ["report", "RUN", "OUT/other"],
        ["power", "RUN", "--effect", "0.03"],
        ["archive", "RUN", "--out", "OUT/run.zip"],
    ],
    ids=" ".join,
)
def test_no_model_library_is_loaded(
    command: list[str], planted_run: RunFolder, tmp_path: Path
) -> None:
    if "OUT/other" in command:
        shutil.copytree(planted_run.place.location, tmp_path / "other")
    places = {"RUN": planted_run.place.location, "OUT": str(tmp_path)}
    for word, place in places.items():
        command = [part.replace(word, place) for part in command]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].split() == ["loaded:"]
