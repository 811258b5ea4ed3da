"""What travels to a cluster: the package, and nothing that lies next to it."""

from __future__ import annotations

import pkgutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import steereval
from steereval.harness.deploy import package_snapshot
from steereval.harness.deploy.package_snapshot import package_files


def test_every_module_travels() -> None:
    files = package_files()
    modules = {
        module.name.removeprefix("steereval.").replace(".", "/")
        for module in pkgutil.walk_packages(
            steereval.__path__, "steereval.", onerror=lambda _: None
        )
    }
    for module in modules:
        assert {f"{module}.py", f"{module}/__init__.py"} & files.keys(), module
    assert {"py.typed", "results/report/templates/page.html.j2"} <= files.keys()


def test_nothing_else_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room, root = tmp_path / "tasks", tmp_path / "src" / "steereval"
    names = (
        "src/steereval/__init__.py", "tasks/__init__.py", "tasks/a/card.yaml", "tasks/.env",
        "tasks/.git/config.py", "tasks/.hidden.py", "tasks/run/manifest.json",
        "tasks/run/cells/a.py", "tasks/weights.safetensors", "tasks/notes.txt",
        "elsewhere/secret.py",
    )  # fmt: skip
    for name in names:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    (root / "tasks").symlink_to(room)
    (room / "linked").symlink_to(tmp_path / "elsewhere")
    (room / "link.py").symlink_to(tmp_path / "elsewhere" / "secret.py")
    spec = ModuleSpec("steereval", None, origin=str(root / "__init__.py"))
    monkeypatch.setattr(package_snapshot, "find_spec", lambda name: spec)
    assert package_files().keys() == {"__init__.py", "tasks/__init__.py", "tasks/a/card.yaml"}
