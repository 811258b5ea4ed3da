"""Cells and their ids: golden values, and what may and may not change them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from steereval.common.errors import GridError, InputError, UnknownNameError
from steereval.harness.cli.inputs import read_grid
from steereval.harness.config.grid import load_grid, parse_grid, plain
from steereval.harness.planning.cell import IDENTITY_VERSION, Cell
from steereval.harness.planning.plan import make_plan, plan_notes

EXAMPLES = Path(__file__).parents[3] / "examples"


def grid(**changes: Any) -> Any:
    data: dict[str, Any] = {
        "name": "g",
        "models": [{"name": "smollm2-135m", "layers": [14]}],
        "contrast": {"name": "truthful-mini", "fraction": 0.8},
        "methods": [
            "none",
            {"name": "caa", "strengths": [1, 2]},
            {"name": "odesteer", "strengths": [5], "options": {"steps": 4}},
        ],
        "tasks": [{"name": "truthful_mini_mc", "limit": 10}],
        "seeds": {"fit": [0, 1]},
        "select": {"on": "validation"},
    }
    return parse_grid(data | changes)


def test_the_ids_of_version_6_are_golden() -> None:
    """Ids name files of finished runs. If this fails, raise IDENTITY_VERSION and say so in the
    changelog: every run folder of the version before will be computed again."""
    assert IDENTITY_VERSION == 6
    assert [cell.id for cell in make_plan(grid())] == GOLDEN


GOLDEN = [
    "717f6f83dc626c7c",
    "95443a395e7af881",
    "d4e1f28a06e050ba",
    "3526222d79b00b37",
    "3618f65beebfb4ac",
    "57d87424fcb15624",
    "230778bc782d9adc",
]

REPEATED = ["9245926bdb30b698", "5e818e44edc85af8"]


def test_a_noise_floor_adds_cells_and_changes_none() -> None:
    """The unsteered cell and the method's first, again."""
    cells = make_plan(grid(noise_floor="odesteer"))
    assert [cell.id for cell in cells[:7]] == GOLDEN
    again = [cell.planned() for cell in cells[7:]]
    assert [(c.method, c.repeats) for c in again] == [
        ("none (repeated)", GOLDEN[0]),
        ("odesteer (repeated)", GOLDEN[5]),
    ]
    assert [cell.id for cell in cells[7:]] == REPEATED
    assert all("repeats" not in cell.planned().plain() for cell in cells[:7])


def test_the_batch_size_of_a_repetition_is_not_its_identity() -> None:
    """What an A/A pair is to show is that it changes nothing."""
    other = grid(noise_floor={"method": "odesteer", "batch_size": 3})
    assert [c.id for c in make_plan(other)] == [
        c.id for c in make_plan(grid(noise_floor="odesteer"))
    ]


def test_a_match_makes_every_strength_a_displacement() -> None:
    """The same cells as methods that say so themselves."""
    methods = [{"name": "caa", "strengths": [0.1]}, {"name": "repe", "strengths": [0.1]}]
    matched = make_plan(grid(match="displacement", methods=["none", *methods]))
    displacements = [each | {"unit": "displacement"} for each in methods]
    assert [c.id for c in make_plan(grid(methods=["none", *displacements]))] == [
        c.id for c in matched
    ]
    assert [c.id for c in make_plan(grid(methods=["none", *methods]))] != [c.id for c in matched]


@pytest.mark.parametrize("where", ["grid", "method"])
def test_what_is_fitted_to_nothing_cannot_be_matched(tmp_path: Path, where: str) -> None:
    """There are no activations to match a displacement on."""
    vector = {"name": "vector", "strengths": [0.1], "options": {"path": str(tmp_path / "v.gguf")}}
    unit = {"unit": "displacement"} if where == "method" else {}
    match = {"match": "displacement"} if where == "grid" else {}
    with pytest.raises(GridError, match="vector is fitted to nothing"):
        make_plan(grid(methods=["none", vector | unit], **match))


def test_a_method_on_some_tasks_has_no_other_cells() -> None:
    """And those that it has are what they would be."""
    two = [{"name": "truthful_mini_mc"}, {"name": "truthful_mini_gen"}]
    caa = {"name": "caa", "strengths": [1]}
    both = make_plan(grid(tasks=two, methods=["none", caa]))
    one = make_plan(grid(tasks=two, methods=["none", caa | {"tasks": ["truthful_mini_gen"]}]))
    assert {c.id for c in both} - {c.id for c in one} == {
        c.id for c in both if c.method.name == "caa" and c.task.name == "truthful_mini_mc"
    }
    assert {c.id for c in one} < {c.id for c in both}


def test_a_methods_contrast_stands_before_the_tasks() -> None:
    """And a cell is the same wherever its contrast was named."""
    other = {"name": "truthful-mini", "fraction": 0.5}
    caa = {"name": "caa", "strengths": [1]}
    named = make_plan(grid(methods=["none", caa | {"contrast": other}]))
    assert {c.contrast.fraction for c in named if c.contrast} == {0.5}
    assert [c.id for c in named] == [
        c.id for c in make_plan(grid(methods=["none", caa], contrast=other))
    ]


def test_ids_are_distinct_and_stable() -> None:
    first, second = make_plan(grid()), make_plan(grid())
    assert [cell.id for cell in first] == [cell.id for cell in second]
    assert len({cell.id for cell in first}) == len(first) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"analysis": {"confidence": 0.9}},
        {"run": {"batch_size": 3, "workers": 2}},
        {"tasks": [{"name": "truthful_mini_mc", "limit": 10, "margin": 0.1, "metric": "mc1"}]},
        {
            "methods": [
                "none",
                {"name": "caa", "strengths": [1, 2], "label": "mean shift"},
                {"name": "odesteer", "strengths": [5], "options": {"steps": 4}},
            ]
        },
    ],
)
def test_analysis_and_runtime_fields_leave_ids_alone(change: dict[str, Any]) -> None:
    assert {c.id for c in make_plan(grid(**change))} == {c.id for c in make_plan(grid())}


@pytest.mark.parametrize(
    "change",
    [
        {"models": [{"name": "smollm2-135m", "layers": [13]}]},
        {"models": [{"name": "smollm2-135m", "layers": [14], "dtype": "bfloat16"}]},
        {"contrast": {"name": "truthful-mini", "fraction": 0.7}},
        {"contrast": {"name": "truthful-mini", "fraction": 0.8, "answers": "best"}},
        {"contrast": {"name": "truthful-mini", "fraction": 0.8, "token": "mean"}},
        {"positions": "all"},
        {"tasks": [{"name": "truthful_mini_mc", "limit": 11}]},
        {"tasks": [{"name": "truthful_mini_mc", "limit": 10, "num_fewshot": 2}]},
        {"seeds": {"fit": [2, 3]}},
        {"select": {"share": 0.3}},
    ],
)
def test_identity_fields_change_the_ids_of_steered_cells(change: dict[str, Any]) -> None:
    steered = {c.id for c in make_plan(grid()) if c.layer}
    assert not steered & {c.id for c in make_plan(grid(**change))}


def test_the_baseline_does_not_depend_on_what_steers() -> None:
    others = grid(
        models=[{"name": "smollm2-135m", "layers": [3, 4]}], contrast="truthfulqa", positions="all"
    )
    assert baseline(make_plan(grid())) == baseline(make_plan(others))


def baseline(cells: list[Cell]) -> list[str]:
    return [cell.id for cell in cells if cell.method.name == "none"]


def test_a_method_without_randomness_is_fitted_once() -> None:
    cells = make_plan(grid(contrast="truthful-mini"))
    assert [c.fit_seed for c in cells if c.method.name == "caa"] == [None, None]
    assert [c.fit_seed for c in cells if c.method.name == "odesteer"] == [0, 1]


def test_an_id_survives_the_way_through_plain_values() -> None:
    for cell in make_plan(grid()):
        assert dataclasses.replace(cell).id == cell.id
        assert cell.summary()["cell_id"] == cell.id


def test_another_contrast_file_is_another_cell(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"positive": "a", "negative": "b"}\n')
    before = {c.id for c in make_plan(grid(contrast=str(path))) if c.layer}
    path.write_text('{"positive": "a", "negative": "c"}\n')
    assert not before & {c.id for c in make_plan(grid(contrast=str(path)))}


def test_names_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'odesteer'"):
        make_plan(grid(methods=["none", {"name": "odester", "strengths": [1]}]))
    with pytest.raises(InputError, match=r"odesteer.*'step'"):
        make_plan(
            grid(methods=["none", {"name": "odesteer", "strengths": [1], "options": {"step": 1}}])
        )
    with pytest.raises(InputError, match="unknown positions"):
        make_plan(grid(positions="last"))
    with pytest.raises(InputError, match="cannot be read"):
        make_plan(grid(contrast="missing.jsonl"))


def test_cells_that_differ_in_their_label_alone_are_refused() -> None:
    twice = [
        "none",
        {"name": "caa", "strengths": [1], "label": "one"},
        {"name": "caa", "strengths": [1], "label": "two"},
    ]
    with pytest.raises(GridError, match="are the same"):
        make_plan(grid(methods=twice))


def test_the_quickstart_is_as_large_as_it_says() -> None:
    quickstart = load_grid(EXAMPLES / "quickstart.yaml")
    assert len(quickstart.methods) >= 4
    assert sum(len(method.strengths) >= 3 for method in quickstart.methods) >= 2
    assert len(quickstart.tasks) >= 2
    assert len(quickstart.seeds.fit) >= 3


def test_a_method_that_is_fitted_needs_a_contrast() -> None:
    with pytest.raises(GridError, match="no contrast set to fit steerers to"):
        make_plan(grid(contrast=None))


def test_layers_and_positions_of_a_method() -> None:
    """Layers together are one cell; what a method says of itself replaces what the grid says."""
    methods = [
        "none",
        {"name": "caa", "strengths": [1]},
        {"name": "caa", "label": "b", "strengths": [1], "layers": [[3, 5], "all"]},
        {"name": "caa", "label": "c", "strengths": [1], "positions": "all"},
        {"name": "caa", "label": "d", "strengths": [1], "layers": [[3, 5]], "incremental": True},
    ]
    cells = [c for c in make_plan(grid(methods=methods)) if c.fit_seed in (None, 0)]
    assert [c.layer for c in cells] == ["", "14", "3+5", "all", "14", "3+5"]
    assert [c.positions for c in cells] == ["", *["generated"] * 3, "all", "generated"]
    assert len({c.id for c in cells}) == 6
    said = grid(methods=[{"name": "caa", "strengths": [1], "layers": 14, "positions": "all"}],
                analysis={"baseline": "caa"})  # fmt: skip
    assert make_plan(said)[0].id == next(c.id for c in cells if c.label == "c")


@pytest.mark.parametrize("method", ["iti_heads", "re_control", "truthflow", "vector"])
def test_what_cannot_be_fitted_layer_by_layer_is_refused_at_once(method: str) -> None:
    options = {"path": "v.safetensors"} if method == "vector" else {}
    entry = {"name": method, "strengths": [1], "options": options, "incremental": True}
    with pytest.raises(InputError, match=f"{method} cannot be fitted layer by layer"):
        make_plan(grid(methods=["none", entry]))


def test_the_version_of_a_methods_package_is_part_of_its_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = []
    for version in ("", "own==1.0", "own==1.1"):
        monkeypatch.setattr("steereval.harness.planning.cell.package_of", lambda name, v=version: v)
        ids.append(make_plan(grid())[1].id)
    assert len(set(ids)) == 3


@pytest.mark.parametrize("gated", [False, True])
def test_a_vectors_file_is_part_of_its_cell(tmp_path: Path, gated: bool) -> None:
    file = tmp_path / "v.safetensors"
    if gated:
        options = {"method": "vector", "method_options": {"path": str(file)}}
        methods = ["none", {"name": "conditional", "strengths": [1], "options": options}]
    else:
        methods = ["none", {"name": "vector", "strengths": [1], "options": {"path": str(file)}}]
    with pytest.raises(InputError, match="cannot be read"):
        make_plan(grid(methods=methods))
    ids = []
    for content in (b"one", b"two"):
        file.write_bytes(content)
        contrast = "truthful-mini" if gated else None
        cell = make_plan(grid(methods=methods, contrast=contrast))[1]
        assert cell.fit_seed is None
        ids.append(cell.id)
    assert ids[0] != ids[1]


def test_draws_are_repeated_where_something_is_drawn() -> None:
    """Sample seeds where a task samples, few-shot seeds where it has examples, else the first."""
    tasks = [
        {"name": "truthful_mini_gen", "generation": {"do_sample": True}},
        {"name": "truthful_mini_mc", "num_fewshot": 2},
        "realtoxicity_mini",
    ]
    seeds = {"fit": [0], "sample": [5, 6], "fewshot": [7, 8, 9]}
    cells = make_plan(grid(tasks=tasks, seeds=seeds, methods=["none"]))
    result = [(cell.task.name, cell.sample_seed, cell.fewshot_seed) for cell in cells]
    assert result == [
        ("truthful_mini_gen", 5, 7),
        ("truthful_mini_gen", 6, 7),
        ("truthful_mini_mc", 5, 7),
        ("truthful_mini_mc", 5, 8),
        ("truthful_mini_mc", 5, 9),
        ("realtoxicity_mini", 5, 7),
    ]
    assert len({cell.id for cell in cells}) == 6


@pytest.mark.parametrize(("wanted", "limits"), [(5, [5, 5]), (20, [10, 20]), (None, [10, None])])
def test_a_limit_on_the_command_line_raises_none_of_the_grids(
    tmp_path: Path, wanted: int | None, limits: list[int | None]
) -> None:
    path = tmp_path / "grid.yaml"
    tasks = [{"name": "truthful_mini_mc", "limit": 10}, "truthful_mini_gen"]
    path.write_text(yaml.safe_dump(plain(grid(tasks=tasks))))
    limited = read_grid(str(path), wanted)
    assert [task.limit for task in limited.tasks] == limits


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({}, []),
        ({"contrast": "truthful-mini"}, ["caa:"]),
        ({"contrast": "truthful-mini", "seeds": {"fit": [0]}}, []),
    ],
)
def test_seeds_that_change_no_fit_are_reported(changes: dict[str, Any], labels: list[str]) -> None:
    planned = grid(**changes)
    sentences = plan_notes(planned, make_plan(planned))
    assert len(sentences) == len(labels)
    assert all(
        f"for {label}" in sentence for label, sentence in zip(labels, sentences, strict=True)
    )


def test_seeds_of_a_file_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "v.safetensors"
    file.touch()
    vector = {"name": "vector", "strengths": [1], "options": {"path": str(file)}}
    planned = grid(methods=["none", vector])
    (sentence,) = plan_notes(planned, make_plan(planned))
    assert "vector" in sentence
    assert "fraction" not in sentence
