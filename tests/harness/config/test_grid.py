"""The grid file: what is accepted, what is refused, and how each field is classified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import GridError
from steereval.common.validation import Place
from steereval.harness.config import specs
from steereval.harness.config.fields import Part
from steereval.harness.config.grid import Grid, changed, load_grid, parse_grid, plain
from steereval.harness.config.load import read_grid
from steereval.harness.config.yaml_core import line_of, read_yaml

EXAMPLES = Path(__file__).parents[3] / "examples"
GRIDS = [path for path in EXAMPLES.rglob("*.yaml") if path.parent.name != "tasks"]


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


@pytest.mark.parametrize("path", sorted(GRIDS), ids=lambda path: path.name)
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


def steered(**changes: Any) -> dict[str, Any]:
    return {"name": "caa", "strengths": [1]} | changes


TOKEN = "hf_Zx9secretVALUE77abcdef"


@pytest.mark.parametrize(
    "changes",
    [
        {"models": [{"name": "m", "layers": [1], "model_args": {"system_instruction": TOKEN}}]},
        {"contrast": f"https://user:{TOKEN}@host/pairs.jsonl"},
        {"methods": ["none", steered(options={"api_key": "Zx9secret"})]},
    ],
)
def test_a_secret_in_a_grid_is_refused_and_not_quoted(changes: dict[str, Any]) -> None:
    with pytest.raises(GridError) as refused:
        parse_grid(small(**changes))
    assert "Zx9secret" not in str(refused.value)
    assert "secret" in refused.value.problem


@pytest.mark.parametrize(
    "changes",
    [{"name": "g\x1b[2J"}, {"methods": ["none", steered(label="a\u202eb")]},
     {"tasks": ["a\x00"]}, {"models": [{"name": "m\r", "layers": [1]}]}],
)  # fmt: skip
def test_names_that_would_command_a_terminal_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(GridError) as refused:
        parse_grid(small(**changes))
    assert str(refused.value).isprintable()


def test_repetitions_have_another_batch_size() -> None:
    assert parse_grid(small(noise_floor="caa")).repeat_batch_size == 16
    one = small(noise_floor="caa", run={"batch_size": 1})
    assert parse_grid(one).repeat_batch_size == 2
    given = small(noise_floor={"method": "caa", "batch_size": 7})
    assert parse_grid(given).repeat_batch_size == 7


SPECS = [value for value in vars(specs).values() if hasattr(value, "__pydantic_fields__")]


def test_every_field_is_identity_analysis_or_runtime_and_described() -> None:
    """A new field says what it is part of by its type, `Identity[...]` for example."""
    fields = [(kind, *item) for kind in SPECS for item in kind.__pydantic_fields__.items()]
    assert len(fields) > 50
    for kind, name, field in fields:
        assert sum(isinstance(mark, Part) for mark in field.metadata) == 1, f"{kind}.{name}"
        assert field.description, f"{kind}.{name}"


# What is refused, where the fault lies, and the name that the remedy suggests.
BAD: dict[str, tuple[dict[str, Any], Place, str]] = {
    "unknown key": (small(modles=[]), ("modles",), "models"),
    "unknown nested key": (small(tasks=[{"name": "t", "limt": 3}]), ("tasks", 0, "limt"), "limit"),
    "no models": (small(models=[]), ("models",), ""),
    "missing name": ({k: v for k, v in small().items() if k != "name"}, ("name",), ""),
    "no layers": (small(models=[{"name": "m", "layers": []}]), ("models", 0, "layers"), ""),
    "negative layer": (
        small(models=[{"name": "m", "layers": [-1]}]),
        ("models", 0, "layers", 0),
        "",
    ),
    "layer twice": (small(models=[{"name": "m", "layers": [1, 1]}]), ("models", 0, "layers"), ""),
    "dtype": (
        small(models=[{"name": "m", "layers": [1], "dtype": "fp32"}]),
        ("models", 0, "dtype"),
        "float32",
    ),
    "text for a number": (small(tasks=[{"name": "t", "limit": "many"}]), ("tasks", 0, "limit"), ""),
    "zero limit": (small(tasks=[{"name": "t", "limit": 0}]), ("tasks", 0, "limit"), ""),
    "true for a number": (small(tasks=[{"name": "t", "limit": True}]), ("tasks", 0, "limit"), ""),
    "infinite strength": (
        small(methods=["none", {"name": "caa", "strengths": [float("inf")]}]),
        ("methods", 1, "strengths", 0),
        "",
    ),
    "no strengths": (small(methods=["none", "caa"]), ("methods", 1), ""),
    "strength for none": (
        small(methods=[{"name": "none", "strengths": [1]}]),
        ("methods", 0, "strengths"),
        "",
    ),
    "strength twice": (
        small(methods=["none", {"name": "caa", "strengths": [1, 1.0]}]),
        ("methods", 1, "strengths"),
        "",
    ),
    "method twice": (
        small(methods=["none", {"name": "caa", "strengths": [1]}] * 2),
        ("methods", 2),
        "",
    ),
    "unit": (
        small(methods=["none", {"name": "caa", "strengths": [1], "unit": "relativ"}]),
        ("methods", 1, "unit"),
        "relative",
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
        ("methods", 2, "strengths"),
        "",
    ),
    "a unit beside a match": (
        small(
            match="displacement",
            methods=["none", {"name": "caa", "strengths": [1], "unit": "relative"}],
        ),
        ("methods", 1, "unit"),
        "",
    ),
    "a displacement below 0": (
        small(methods=["none", {"name": "caa", "strengths": [-0.1], "unit": "displacement"}]),
        ("methods", 1, "strengths", 0),
        "",
    ),
    "a displacement layer by layer": (
        small(
            match="displacement",
            methods=["none", {"name": "caa", "strengths": [0.1], "incremental": True}],
        ),
        ("methods", 1, "incremental"),
        "",
    ),
    "a task that is none": (
        small(methods=["none", {"name": "caa", "strengths": [1], "tasks": ["truthful_mini_mx"]}]),
        ("methods", 1, "tasks", 0),
        "truthful_mini_mc",
    ),
    "a baseline on some tasks": (
        small(
            tasks=["truthful_mini_mc", "truthful_mini_gen"],
            methods=[{"name": "none", "tasks": ["truthful_mini_gen"]}],
        ),
        ("methods", 0, "tasks"),
        "",
    ),
    "a contrast of the unsteered": (
        small(methods=[{"name": "none", "contrast": "truthful-mini"}]),
        ("methods", 0, "contrast"),
        "",
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
        ("methods", 1, "contrast", "fraction"),
        "",
    ),
    "fraction": (
        small(contrast={"name": "truthful-mini", "fraction": 1.5}),
        ("contrast", "fraction"),
        "",
    ),
    "baseline": (small(analysis={"baseline": "nothing"}), ("analysis", "baseline"), ""),
    "confidence": (small(analysis={"confidence": 95}), ("analysis", "confidence"), ""),
    "select task": (
        small(select={"task": "truthful_mini_mx"}),
        ("select", "task"),
        "truthful_mini_mc",
    ),
    "select share": (small(select={"share": 1}), ("select", "share"), ""),
    "seed twice": (small(seeds={"fit": [1, 1]}), ("seeds", "fit"), ""),
    "several sample seeds": (small(seeds={"sample": [0, 1]}), ("seeds", "sample"), ""),
    "several few-shot seeds": (small(seeds={"fewshot": [0, 1]}), ("seeds", "fewshot"), ""),
    "unknown option of generation": (
        small(tasks=[{"name": "t", "generation": {"do_smaple": True}}]),
        ("tasks", 0, "generation", "do_smaple"),
        "do_sample",
    ),
    "noise floor of no method": (small(noise_floor="cas"), ("noise_floor", "method"), "caa"),
    "noise floor of the unsteered": (small(noise_floor="none"), ("noise_floor", "method"), ""),
    "noise floor as the run": (
        small(noise_floor={"method": "caa", "batch_size": 32}),
        ("noise_floor", "batch_size"),
        "",
    ),
    "margin": (small(tasks=[{"name": "t", "margin": -0.1}]), ("tasks", 0, "margin"), ""),
    "no workers": (small(run={"workers": 0}), ("run", "workers"), ""),
    "a list": ([1, 2], (), ""),  # type: ignore[dict-item]
}


@pytest.mark.parametrize(("data", "place", "suggestion"), BAD.values(), ids=BAD.keys())
def test_bad_grids_are_refused_with_the_place(
    data: dict[str, Any], place: Place, suggestion: str
) -> None:
    grid, faults = read_grid(data)
    assert grid is None
    assert faults[0].place == place
    assert f"'{suggestion}'" in faults[0].remedy or not suggestion
    with pytest.raises(GridError) as caught:
        parse_grid(data)
    assert (caught.value.problem, caught.value.remedy) == (faults[0].problem, faults[0].remedy)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: [", 1),
        ("name: a\nname: b\n", 2),
        ("name: a\n? [b]\n: 1\n", 2),
        ("name: a\nmodels:\n  - {name: m, layers: 1}\n  - name: n\n    layer: 2\n", 5),
        ("name: a\nmodels: {name: m, layers: 1}\nmethods: none\ntasks: t\nrun: {workers: 0}", 5),
        ("name: a\nmodels: {name: m, layers: 1}\nmethods:\n- caa\n- none\ntasks: t\n", 4),
    ],
)
def test_a_bad_file_is_refused_with_the_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(GridError, match=f"line {line}\\b"):
        load_grid(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.touch()
    with pytest.raises(GridError, match="None"):
        load_grid(path)


def test_a_changed_part_is_validated() -> None:
    grid = parse_grid(small())
    assert changed(grid.run, workers=3).workers == 3
    with pytest.raises(GridError, match="0"):
        changed(grid.run, workers=0)


WORDS = {
    "no": "no", "on": "on", "Yes": "Yes", "true": True, "FALSE": False, "~": None, "null": None,
    "1e-4": 1e-4, "1E3": 1000.0, "+.5": 0.5, "2.": 2.0, "010": 10, "0o10": 8, "0x1f": 31,
    "-7": -7, "1_000": "1_000", "1:30": "1:30", "2024-01-01": "2024-01-01", "1.2.3": "1.2.3",
    ".inf": float("inf"), "=": "=", "'010'": "010", "e5": "e5", "NULL_": "NULL_",
}  # fmt: skip
"""Plain words by the core schema of YAML 1.2."""


@pytest.mark.parametrize("word", WORDS)
def test_words_are_what_yaml_1_2_says(word: str) -> None:
    data, _ = read_yaml(f"[{word}]")
    assert data == [WORDS[word]]
    assert type(data[0]) is type(WORDS[word])


def test_merge_keys_work_and_the_line_is_where_the_key_stands() -> None:
    text = "base: &base {name: caa, strengths: 1}\nmethods:\n  - <<: *base\n    strengths: 2\n"
    data, root = read_yaml(text)
    assert data["methods"] == [{"name": "caa", "strengths": 2}]
    assert root is not None
    assert line_of(root, ("methods", 0, "strengths")) == 4


def test_options_of_generation_stay_as_they_are_written() -> None:
    """They are part of a cell's id, in which 1 and 1.0 differ."""
    for value in (1, 1.0):
        grid = parse_grid(small(tasks=[{"name": "t", "generation": {"temperature": value}}]))
        assert plain(grid)["tasks"][0]["generation"] == {"temperature": value}
        assert type(grid.tasks[0].generation["temperature"]) is type(value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="cannot be read"):
        load_grid(tmp_path / "none.yaml")
    path = tmp_path / "grid.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GridError, match="not UTF-8"):
        load_grid(path)


@pytest.mark.parametrize(
    "changes",
    [{"tasks": [{"name": "t", "limit": 1 << 63}]}, {"seeds": {"fit": [1 << 80]}},
     {"tasks": [{"name": "t", "num_fewshot": 10**400}]}],
)  # fmt: skip
def test_numbers_that_no_counter_holds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(GridError, match="digits"):
        parse_grid(small(**changes))


def test_a_number_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(f"name: g\nseeds: {'1' * 5000}\n")
    with pytest.raises(GridError, match="thousands of digits"):
        load_grid(tmp_path / "grid.yaml")
