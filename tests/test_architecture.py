"""The house rules: who may import whom, what is public, how long a function may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("models", "tasks", "results", "ray_jobs")
HARNESS_ORDER = (
    "errors",
    "cache",
    "file_hashes",
    "judge_cache",
    "versions",
    "spec",
    "plan",
    "cards",
    "supplies",
    "assets",
    "model_content",
    "activations",
    "fitting",
    "arms",
    "model_args",
    "steered_lm",
    "replay",
    "together",
    "rows",
    "references",
    "content",
    "answered",
    "scoring",
    "attempt",
    "run",
    "judging",
    "judged",
    "parcel",
    "judge_check",
    "task_size",
    "preflight",
    "cost",
    "known_cost",
    "gpu_hours",
    "estimate",
    "progress",
    "tracking",
    "session",
    "simulation",
    "probe",
    "diagnosis_plan",
    "diagnosis_material",
    "diagnosis_rows",
    "diagnosis_steering",
    "diagnosis_cost",
    "diagnosis_unit",
    "diagnose",
    "submission",
    "remote",
    "clusters",
    "rescore",
    "verify",
    "imports",
    "power",
    "commands",
    "cli",
)
"""Each module of harness/ may import those before it."""
HEAVY = ("torch", "lm_eval", "ray", "transformers", "datasets", "accelerate", "sklearn")


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_do_not_know_one_another(room: str) -> None:
    """Nor harness/, its errors aside."""
    allowed = ("steereval.errors", f"steereval.{room}.", f"steereval.{room}")
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources(room)
        for name in imports(path)
        if name.startswith("steereval") and not name.startswith(allowed)
    ]
    assert wrong == []


def test_only_ray_jobs_imports_ray() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for room in ("harness", "models", "tasks", "results")
        for path in sources(room)
        for name in imports(path)
        if name.split(".")[0] == "ray"
    ]
    assert wrong == []


def test_results_can_be_read_without_a_gpu_stack() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("results")
        for name in imports(path)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []


def test_models_know_no_task_and_no_harness() -> None:
    wrong = [
        name
        for path in sources("models")
        for name in imports(path)
        if name.split(".")[0] == "lm_eval"
    ]
    assert wrong == []


def test_harness_modules_know_only_those_before_them() -> None:
    present = {path.stem for path in sources("harness")} - {"__init__"}
    assert present == set(HARNESS_ORDER)
    wrong = []
    for path in sources("harness"):
        if path.stem == "__init__":
            continue
        before = HARNESS_ORDER[: HARNESS_ORDER.index(path.stem)]
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "steereval" and parts[1] not in (*before, *ROOMS):
                wrong.append(f"{path.stem}: {name}")
    assert wrong == []


def test_every_room_has_its_packages_listed() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            package = ".".join(("steereval", *init.parent.relative_to(ROOT).parts))
            assert f'"{package}"' in text, f"{package} is missing from pyproject.toml"


def test_the_public_names_are_these() -> None:
    import steereval
    import steereval.models

    assert steereval.__all__ == ["fit_steerer", "load_steerer"]
    assert steereval.models.__all__ == ["fit_steerer", "load_steerer", "odesteer_from_sketch"]
    assert all(callable(getattr(steereval, name)) for name in steereval.__all__)


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for room in ("harness", *ROOMS)
        for path in sources(room)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno > 50
    ]
    assert long == []


def test_nothing_is_unpickled_but_the_classifier() -> None:
    words = ("pickle.load", "joblib.load", "torch.load", "weights_only=False", "allow_pickle=True")
    found = {
        str(path.relative_to(ROOT))
        for room in ("harness", *ROOMS)
        for path in sources(room)
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found == {"tasks/scorers/profanity_process.py", "models/vectors/lm_eval_steered.py"}


def test_steered_files_are_read_as_weights_only() -> None:
    """lm-eval's files are pickles by form: nothing but tensors and plain values is made of them."""
    tree = ast.parse((ROOT / "models/vectors/lm_eval_steered.py").read_text(encoding="utf-8"))
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert len(loads) == 1
    assert "weights_only=True" in ast.unparse(loads[0])
