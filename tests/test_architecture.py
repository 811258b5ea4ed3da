"""Rules of the code that import-linter does not check: public names, lengths, unpickling.

Who may import whom stands in pyproject.toml, under `tool.importlinter`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("harness", "models", "tasks", "results", "ray_jobs")
SOURCES = sorted(
    [*(ROOT / "src/steereval").rglob("*.py")]
    + [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
)


@pytest.mark.parametrize("room", ROOMS)
def test_the_package_is_the_folder(room: str) -> None:
    link = ROOT / "src" / "steereval" / room
    assert link.readlink() == Path("../..", room)


def test_the_public_names_are_these() -> None:
    import steereval
    import steereval.models

    assert steereval.__all__ == ["collect_activations", "fit_steerer", "load_steerer", "steering"]
    assert steereval.models.__all__ == ["fit_steerer", "load_steerer", "odesteer_from_sketch"]
    assert all(callable(getattr(steereval, name)) for name in steereval.__all__)


@pytest.mark.slow
def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno > 50
    ]
    assert long == []


def test_nothing_is_unpickled_but_the_classifier() -> None:
    words = ("pickle.load", "joblib.load", "torch.load", "weights_only=False", "allow_pickle=True")
    modules = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert modules == {"tasks/scorers/profanity_process.py", "models/vectors/tensor_files.py"}


def test_steered_files_are_read_as_weights_only() -> None:
    """lm-eval's files are pickles by form: only tensors and plain values are made of them."""
    tree = ast.parse((ROOT / "models/vectors/tensor_files.py").read_text(encoding="utf-8"))
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert len(loads) == 1
    assert "weights_only=True" in ast.unparse(loads[0])
