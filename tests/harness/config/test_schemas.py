"""JSON schemas and the reference of the grid file: current, and true of real documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from steereval.harness.config.grid import load_grid, plain
from steereval.harness.config.schemas import schemas, written
from steereval.harness.config.yaml_core import read_yaml
from steereval.models.methods.registry import BUILT_IN

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(
    path for path in (ROOT / "examples").rglob("*.yaml") if path.parent.name != "tasks"
)
BEFORE = ROOT / "tests" / "results" / "store" / "run_of_version_before"
SCHEMAS = schemas()


def errors(name: str, document: Any) -> list[str]:
    """JSON paths at which a document does not fit the schema."""
    validator = jsonschema.Draft202012Validator(SCHEMAS[name])
    return [error.json_path for error in validator.iter_errors(document)]


def test_what_is_committed_is_current() -> None:
    """`make schema` writes it."""
    for path, text in written(ROOT / "docs").items():
        assert path.read_text(encoding="utf-8") == text, path.name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_name_the_schema_and_fit_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = text.partition("\n")[0].partition("$schema=")[2]
    assert (path.parent / named).resolve() == ROOT / "docs" / "schema" / "grid.json"
    assert errors("grid", read_yaml(text)[0]) == []
    assert errors("grid", plain(load_grid(path))) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("modles", []),
        ("tasks", [{"name": "t", "limt": 3}]),
        ("tasks", [{"name": "t", "limit": 0}]),
        ("models", [{"name": "m", "layers": -1}]),
        ("methods", [{"name": "odesteer", "strengths": 1, "options": {"stps": 3}}]),
        ("methods", [{"name": "odesteer", "strengths": 1, "options": {"solver": "heun"}}]),
        ("contrast", {"name": "x", "fraction": 1.5}),
        ("run", {"workers": "2"}),
    ],
)
def test_the_schema_refuses_what_the_program_refuses(place: str, value: Any) -> None:
    grid = {"name": "g", "models": {"name": "m", "layers": 1}, "methods": "none", "tasks": "t"}
    assert errors("grid", grid) == []
    assert errors("grid", grid | {place: value})


def test_a_method_of_another_package_has_options_of_its_own() -> None:
    method = {"name": "mine", "strengths": [1], "options": {"anything": 1}}
    grid = {"name": "g", "models": {"name": "m", "layers": 1}, "tasks": "t"}
    assert errors("grid", grid | {"methods": ["none", method]}) == []


def test_every_built_in_method_is_suggested() -> None:
    name = SCHEMAS["grid"]["$defs"]["MethodSpec"]["properties"]["name"]
    assert name["anyOf"][0]["enum"] == list(BUILT_IN)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("manifest", "manifest.json"),
        ("progress", "progress.json"),
        ("cell-record", "cells/*.json"),
        ("profile", "profile/*.json"),
    ],
)
def test_documents_of_the_version_before_fit_their_schemas(name: str, pattern: str) -> None:
    documents = [json.loads(path.read_text()) for path in BEFORE.glob(pattern)]
    assert documents
    assert [errors(name, document) for document in documents] == [[]] * len(documents)
    first = next(iter(documents[0]))
    assert errors(name, documents[0] | {first: []})
