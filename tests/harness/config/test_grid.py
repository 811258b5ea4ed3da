"""The grid file: what is accepted, what is refused, and how each field is classified."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import GridError
from steereval.harness.config import grid as spec
from steereval.harness.config.grid import Grid, load_grid, parse_grid, plain

EXAMPLES = Path(__file__).parents[3] / "examples"


def small(**changes: Any) -> dict[str, Any]:
    grid: dict[str, Any] = {
        "name": "g",
        "models": [{"name": "m", "layers": [1]}],
        "contrast": "truthful-mini",
        "methods": ["none", {"name": "caa", "strengths": [1]}],
        "tasks": ["truthful_mini_mc"],
    }
    return grid | changes


def test_a_small_grid_is_read_with_its_defaults() -> None:
    grid = parse_grid(small())
    assert grid.tasks[0].role == "target"
    assert grid.seeds.fit == (0,)
    assert grid.methods[1].strengths == (1.0,)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    assert isinstance(load_grid(path), Grid)


def test_plain_values_read_back_as_the_same_grid() -> None:
    grid = load_grid(EXAMPLES / "quickstart.yaml")
    assert parse_grid(plain(grid)) == grid


def test_the_word_on_is_a_word(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "name: g\nmodels: [{name: m, layers: [1]}]\ncontrast: truthful-mini\n"
        "methods: [none]\ntasks: [t]\nselect: {on: validation}\n"
    )
    assert load_grid(path).select is not None


def test_repetitions_have_another_batch_size() -> None:
    assert parse_grid(small(noise_floor="caa")).repeat_batch_size == 16
    one = small(noise_floor="caa", run={"batch_size": 1})
    assert parse_grid(one).repeat_batch_size == 2
    given = small(noise_floor={"method": "caa", "batch_size": 7})
    assert parse_grid(given).repeat_batch_size == 7


def specs() -> list[type]:
    return [
        value
        for value in vars(spec).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value)
    ]


def test_every_field_is_identity_analysis_or_runtime() -> None:
    """A new field must say what it is part of: in spec.py, `_part("identity" | ...)`."""
    unclassified = [
        f"{kind.__name__}.{field.name}"
        for kind in specs()
        for field in dataclasses.fields(kind)
        if field.metadata.get("part") not in ("identity", "analysis", "runtime")
    ]
    assert unclassified == []


def test_every_field_is_documented() -> None:
    source = Path(spec.__file__).read_text()
    lines = [line.strip() for line in source.splitlines()]
    undocumented = [
        line
        for line, following in itertools.pairwise(lines)
        if " = _part(" in line and not following.startswith('"""')
    ]
    assert undocumented == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (small(modles=[]), "unknown key 'modles'. Did you mean 'models'"),
    "unknown nested key": (small(tasks=[{"name": "t", "limt": 3}]), "Did you mean 'limit'"),
    "no models": (small(models=[]), "grid.models is empty"),
    "missing name": ({k: v for k, v in small().items() if k != "name"}, "grid has no 'name'"),
    "no layers": (small(models=[{"name": "m", "layers": []}]), "has no layers"),
    "negative layer": (small(models=[{"name": "m", "layers": [-1]}]), "has layer -1"),
    "layer twice": (small(models=[{"name": "m", "layers": [1, 1]}]), "names a layer twice"),
    "dtype": (small(models=[{"name": "m", "layers": [1], "dtype": "fp32"}]), "dtype 'fp32'"),
    "text for a number": (small(tasks=[{"name": "t", "limit": "many"}]), "a whole number"),
    "zero limit": (small(tasks=[{"name": "t", "limit": 0}]), "limit 0"),
    "true for a number": (small(tasks=[{"name": "t", "limit": True}]), "a whole number"),
    "infinite strength": (
        small(methods=["none", {"name": "caa", "strengths": [float("inf")]}]),
        "a finite number",
    ),
    "no strengths": (small(methods=["none", "caa"]), "caa has no strengths"),
    "strength for none": (
        small(methods=[{"name": "none", "strengths": [1]}]),
        "none has strengths",
    ),
    "strength twice": (
        small(methods=["none", {"name": "caa", "strengths": [1, 1.0]}]),
        "names a strength twice",
    ),
    "method twice": (
        small(methods=["none", {"name": "caa", "strengths": [1]}] * 2),
        "names 'none' twice",
    ),
    "unit": (
        small(methods=["none", {"name": "caa", "strengths": [1], "unit": "relativ"}]),
        "Did you mean 'relative'",
    ),
    "displacements that differ": (
        small(
            match="displacement",
            methods=[
                "none",
                {"name": "caa", "strengths": [0.1, 0.2]},
                {"name": "repe", "strengths": [0.1]},
            ],
        ),
        "method repe has the displacements [0.1], and caa has [0.1, 0.2]",
    ),
    "a unit beside a match": (
        small(
            match="displacement",
            methods=["none", {"name": "caa", "strengths": [1], "unit": "relative"}],
        ),
        "method caa has unit relative, and the grid has `match: displacement`",
    ),
    "a displacement below 0": (
        small(methods=["none", {"name": "caa", "strengths": [-0.1], "unit": "displacement"}]),
        "caa has the displacement -0.1",
    ),
    "a displacement layer by layer": (
        small(
            match="displacement",
            methods=["none", {"name": "caa", "strengths": [0.1], "incremental": True}],
        ),
        "caa is fitted layer by layer at its own strength",
    ),
    "a task that is none": (
        small(methods=["none", {"name": "caa", "strengths": [1], "tasks": ["truthful_mini_mx"]}]),
        "Did you mean 'truthful_mini_mc'",
    ),
    "a baseline on some tasks": (
        small(
            tasks=["truthful_mini_mc", "truthful_mini_gen"],
            methods=[{"name": "none", "tasks": ["truthful_mini_gen"]}],
        ),
        "the baseline none is not run on truthful_mini_mc",
    ),
    "a contrast of the unsteered": (
        small(methods=[{"name": "none", "contrast": "truthful-mini"}]),
        "method none has a contrast",
    ),
    "a method's fraction": (
        small(
            methods=[
                "none",
                {
                    "name": "caa",
                    "strengths": [1],
                    "contrast": {"name": "truthful-mini", "fraction": 0},
                },
            ]
        ),
        "fraction is 0",
    ),
    "fraction": (small(contrast={"name": "truthful-mini", "fraction": 1.5}), "fraction is 1.5"),
    "baseline": (small(analysis={"baseline": "nothing"}), "which is no method of the grid"),
    "confidence": (small(analysis={"confidence": 95}), "between 0.5 and 1"),
    "select task": (small(select={"task": "truthful_mini_mx"}), "Did you mean 'truthful_mini_mc'"),
    "select share": (small(select={"share": 1}), "select.share is 1.0"),
    "seed twice": (small(seeds={"fit": [1, 1]}), "distinct whole numbers"),
    "several sample seeds": (small(seeds={"sample": [0, 1]}), "no task samples"),
    "several few-shot seeds": (small(seeds={"fewshot": [0, 1]}), "no task has few-shot examples"),
    "unknown option of generation": (
        small(tasks=[{"name": "t", "generation": {"do_smaple": True}}]),
        "Did you mean",
    ),
    "noise floor of no method": (small(noise_floor="cas"), "Did you mean 'caa'"),
    "noise floor of the unsteered": (small(noise_floor="none"), "no steered method"),
    "noise floor as the run": (
        small(noise_floor={"method": "caa", "batch_size": 32}),
        "another number than the run's 32",
    ),
    "margin": (small(tasks=[{"name": "t", "margin": -0.1}]), "margin -0.1"),
    "no workers": (small(run={"workers": 0}), "below 1"),
    "a list": ([1, 2], "must be a mapping"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_bad_grids_are_refused_in_one_sentence(data: dict[str, Any], message: str) -> None:
    with pytest.raises(GridError) as caught:
        parse_grid(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML at line"),
        ("name: a\nname: b\n", "given twice"),
        ("", "must be a mapping"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(GridError, match=message):
        load_grid(path)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="cannot be read"):
        load_grid(tmp_path / "none.yaml")
    path = tmp_path / "grid.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GridError, match="not UTF-8"):
        load_grid(path)
