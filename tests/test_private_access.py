"""How often tests reach for private names of the product: the number only falls.

A test that does so breaks when the inside changes and nothing that a user sees does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOMS = ("harness", "models", "tasks", "results", "ray_jobs", "src/steereval/common")
MOST = 38


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def names_in(node: ast.AST) -> Iterator[str]:
    """Names that a piece of code defines, or reaches for through an object, a module or a text."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):
        for each in node.args:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value.rpartition(".")[2]


def defined_in(tree: ast.AST) -> set[str]:
    """Functions and classes of a file, methods included."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def private_names(folder: Path, others: bool) -> Iterator[tuple[Path, str]]:
    """Every private name in the files of `folder`, as often as it occurs there.

    With `others`, without those that the file itself defines.
    """
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        without = defined_in(tree) if others else set()
        for node in ast.walk(tree):
            yield from (
                (path, name) for name in names_in(node) if is_private(name) and name not in without
            )


@pytest.mark.slow
def test_private_names_of_the_product_are_used_ever_less() -> None:
    product = {
        name for room in ROOMS for _, name in private_names(TESTS.parent / room, others=False)
    }
    used = [
        f"{path.relative_to(TESTS)}: {name}"
        for path, name in private_names(TESTS, others=True)
        if name in product
    ]
    assert len(used) <= MOST, "\n".join(used)


def test_private_names_are_seen() -> None:
    code = "from a import _b\nc._d\ndef _e(): ...\nsetattr(f, 'g._h', 1)\n_i = 2\nj.__k__"
    names = {
        name for node in ast.walk(ast.parse(code)) for name in names_in(node) if is_private(name)
    }
    assert names == {"_b", "_d", "_e", "_h"}
