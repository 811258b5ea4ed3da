"""Small grids, run by the command line, and what is asked of their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from steereval.harness.cli.main import main
from steereval.results.store.query import query
from steereval.results.store.run_folder import RunFolder

Grid = dict[str, Any]
MC: Grid = {"name": "truthful_mini_mc", "limit": 3}
GEN: Grid = {
    "name": "truthful_mini_gen",
    "limit": 6,
    "generation": {"max_gen_toks": 6, "until": []},
}


def grid(model: str, strengths: list[float], **changes: Any) -> Grid:
    given: Grid = {
        "name": "g",
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.1},
        "methods": ["none", {"name": "caa", "strengths": strengths}],
        "tasks": [MC],
    }
    return given | changes


def write_grid(given: Grid, folder: Path) -> str:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(given))
    return str(path)


def run(given: Grid, out: Path, *options: str) -> int:
    """The status of `steereval run`."""
    path = write_grid(given, out.parent)
    return main(["run", path, "--out", str(out), "--no-report", *options])


def ask(out: Path, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(RunFolder(out), sql).rows]
