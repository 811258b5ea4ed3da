"""`steereval diagnose` on a tiny model: what is measured, kept, resumed, and told when it fails."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import ContrastError, GridError, InputError
from steereval.harness.cli.main import main
from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.diagnose import cost
from steereval.harness.diagnose.command import diagnose_alone, diagnose_grid
from steereval.harness.diagnose.material import TOKENS, chosen
from steereval.harness.diagnose.steering import DISPLACEMENTS, shown
from steereval.harness.diagnose.units import parts_of, units_of
from steereval.harness.planning.task_resources import TaskResources
from steereval.models.diagnostics.integrator import STEPS
from steereval.results.store.diagnosis import DATA, JUDGES, QUANTITIES, UNSTEERED, read_diagnoses
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage
from steereval.tasks.contrast.registry import load_contrast

SKETCH = {"components": 256, "steps": 4}
METHODS: list[Any] = [
    "none",
    {"name": "caa", "strengths": [1, 3]},
    {"name": "odesteer", "strengths": [0.05], "unit": "relative", "options": SKETCH},
    {"name": "conditional", "strengths": [2]},
    {"name": "iti_heads", "strengths": [2], "options": {"heads": 2}},
]


def grid(model: str, **changes: Any) -> Grid:
    data: dict[str, Any] = {
        "name": "small",
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.5},
        "methods": METHODS,
        "tasks": [{"name": "truthful_mini_mc", "limit": 4}],
        "seeds": {"fit": [0, 1]},
        "diagnose": {"items": 20},
    }
    return parse_grid(data | changes)


@pytest.fixture(scope="module", autouse=True)
def _short_texts() -> Any:
    """Timing takes its time: a few tokens of each method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "NEW_TOKENS", 2)
        patch.setattr(cost, "REPETITIONS", 3)
        yield


@pytest.fixture(scope="module")
def run(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a diagnosis and no cells."""
    out = tmp_path_factory.mktemp("diagnosis") / "run"
    assert diagnose_alone(grid(tiny_folder), out, None, lambda line: None) == ()
    return out


@pytest.fixture(scope="module")
def measurements(run: Path) -> list[dict[str, Any]]:
    """Its rows."""
    diagnoses = read_diagnoses(LocalStorage(run)).values()
    return [row for diagnosis in diagnoses for row in diagnosis.table.to_pylist()]


def of(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_every_quantity_is_measured(measurements: list[dict[str, Any]]) -> None:
    assert {row["quantity"] for row in measurements} == QUANTITIES.keys()
    assert {row["judge"] for row in measurements} == {None, *JUDGES}


def test_every_setting_is_measured_once(measurements: list[dict[str, Any]]) -> None:
    keys = [tuple(value for name, value in row.items() if name != "value") for row in measurements]
    assert len(set(keys)) == len(keys)
    measured = {
        (row["method"], row["strength"], row["fit_seed"])
        for row in of(measurements, quantity="rises")
    }
    settings = {("caa", 1), ("caa", 3), ("odesteer", 0.05), ("conditional", 2)}
    # No gate may open for the few items: then nothing is moved.
    assert measured >= {
        (m, t, seed) for m, t in settings if m != "conditional" for seed in (0, 1)
    }  # fmt: skip
    assert {
        (row["method"], row["strength"]) for row in of(measurements, quantity="reaches")
    } == settings


def test_items_are_the_same_for_all_methods(measurements: list[dict[str, Any]]) -> None:
    items = {
        method: {
            (r["item_id"], r["cluster_id"], r["label"])
            for r in of(measurements, method=method)
            if r["quantity"] == "reaches"
        }
        for method in ("caa", "odesteer")
    }  # fmt: skip
    assert items["caa"] == items["odesteer"]
    assert len(items["caa"]) == 20
    assert sum(label for _, _, label in items["caa"]) == 10


def test_only_a_barrier_of_its_own_is_its_own(measurements: list[dict[str, Any]]) -> None:
    judged = {
        method: {row["judge"] for row in of(measurements, method=method, quantity="log_ratio")}
        for method in ("caa", "odesteer", DATA)
    }
    assert judged["odesteer"] == set(JUDGES)
    assert judged["caa"] == judged[DATA] == {"crossfit", "other_hash"}


def test_on_its_own_barrier_the_flow_rises(measurements: list[dict[str, Any]]) -> None:
    on_its_barrier = of(measurements, quantity="rises", judge="own", method="odesteer")
    assert all(row["value"] == 1 for row in on_its_barrier)
    ascends = of(measurements, quantity="ascends", judge="own", method="odesteer")
    assert all(row["value"] == 1 for row in ascends)


def test_paths_have_all_their_points(measurements: list[dict[str, Any]]) -> None:
    def steps(method: str) -> set[int]:
        return {r["step"] for r in of(measurements, quantity="norm_ratio", method=method)}

    assert steps("odesteer") == set(range(5))
    assert steps("caa") == set(range(11))
    start = of(measurements, quantity="norm_ratio", step=0)
    assert all(row["value"] == 1 for row in start)


def test_a_constant_shift_is_a_constant_shift(measurements: list[dict[str, Any]]) -> None:
    shape = {"field_cosine": 1, "path_stretch": 1, "turning": 0}
    for quantity, value in shape.items():
        rows = of(measurements, quantity=quantity, method="caa")
        assert [row["value"] for row in rows] == pytest.approx([value] * len(rows), abs=2e-3)
    # Fitted to half of the questions, it points about where the mean of all does.
    rows = of(measurements, quantity="mean_difference_cosine", method="caa")
    assert min(row["value"] for row in rows) > 0.5
    agreement = of(measurements, quantity="subset_agreement", method="caa", strength=1)
    assert len({round(row["value"], 6) for row in agreement}) == 1
    assert agreement[0]["value"] < 1


def test_natural_activations_are_as_near_as_chance_predicts(
    measurements: list[dict[str, Any]],
) -> None:
    natural = of(measurements, method=DATA, quantity="mahalanobis")
    assert len(natural) == 10
    assert all(row["label"] and row["strength"] == 0 for row in natural)
    start = of(measurements, method="caa", quantity="mahalanobis", step=0, strength=1, fit_seed=0)
    assert {(r["item_id"], r["value"]) for r in natural} == {
        (r["item_id"], r["value"]) for r in start if r["label"]
    }


def test_positions_that_a_text_does_not_reach_are_left_out(
    measurements: list[dict[str, Any]],
) -> None:
    rows = of(measurements, quantity="probe_score", method="caa", strength=1, fit_seed=0)
    counts = {p: sum(row["position"] == p for row in rows) for p in {r["position"] for r in rows}}
    assert counts["last"] == counts["query"] == counts["mean"] == counts["token 1"] == 20
    tokens = [counts.get(f"token {token}", 0) for token in TOKENS]
    assert tokens == sorted(tokens, reverse=True)
    assert tokens[-1] < 20


def test_integrators_are_compared(measurements: list[dict[str, Any]]) -> None:
    rows = of(measurements, quantity="endpoint_distance")
    assert {row["method"] for row in rows} == {"odesteer"}
    assert {row["steps"] for row in rows} == set(STEPS)
    assert {row["solver"] for row in rows} == {"euler", "midpoint", "rk4", "exponential"}

    def mean(solver: str, steps: int) -> float:
        values = [row["value"] for row in of(rows, solver=solver, steps=steps)]
        return sum(values) / len(values)

    assert mean("euler", 40) < mean("euler", 10) < mean("euler", 1)
    assert mean("rk4", 10) < mean("midpoint", 10) < mean("euler", 10)
    assert {r["steps"] for r in of(measurements, quantity="one_step_distance")} == set(STEPS) - {1}


def test_gains_are_at_equal_displacements(measurements: list[dict[str, Any]]) -> None:
    rows = of(measurements, quantity="gain_at_displacement")
    assert {row["judge"] for row in rows} == {"crossfit"}
    for method in ("caa", "odesteer"):
        assert {row["strength"] for row in of(rows, method=method)} == set(DISPLACEMENTS)


def test_costs(measurements: list[dict[str, Any]]) -> None:
    speeds = of(measurements, quantity="tokens_per_second")
    assert {row["method"] for row in speeds} == {UNSTEERED, "caa", "odesteer", "conditional"}
    assert {row["steps"] for row in speeds if row["method"] == "odesteer"} == {None, *STEPS}
    assert len(of(speeds, method=UNSTEERED)) == 3
    assert all(row["value"] > 0 for row in speeds)
    (model,) = of(measurements, quantity="flops_per_token", method=UNSTEERED)
    (shift,) = of(measurements, quantity="flops_per_token", method="caa")
    assert 0 < shift["value"] < model["value"]


def record_of(run: Path) -> dict[str, Any]:
    (file,) = (run / "diagnosis").glob("*.json")
    record: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return record


def test_the_record_says_what_was_measured(run: Path, tiny_folder: str) -> None:
    record = record_of(run)
    assert (record["model"], record["layer"], record["block"]) == (tiny_folder, "1", 1)
    assert record["left_out"].keys() == {"iti_heads"}
    assert record["errors"] == {}
    counts = record["counts"]
    keys = load_contrast("truthful-mini").keys
    assert counts["fit"]["keys"] == round(0.4 * len(keys))
    assert counts["test"] == {"keys": counts["test"]["keys"], "positive": 10, "negative": 10}


def test_what_is_there_is_not_measured_again(run: Path, tiny_folder: str) -> None:
    before = {path.name: path.read_bytes() for path in (run / "diagnosis").iterdir()}
    said: list[str] = []
    assert diagnose_grid(grid(tiny_folder), run, None, said.append) == ()
    assert said == ["1 of 1 diagnoses were there before"]
    assert {path.name: path.read_bytes() for path in (run / "diagnosis").iterdir()} == before


@pytest.mark.slow
def test_another_grid_takes_the_place_of_what_was_there(
    run: Path, tiny_folder: str, tmp_path: Path
) -> None:
    changed = grid(tiny_folder, methods=METHODS[:2], diagnose={"items": 10})
    assert diagnose_alone(changed, tmp_path / "run", None, lambda line: None) == ()
    first = record_of(tmp_path / "run")
    again = dataclasses.replace(changed, diagnose=grid(tiny_folder).diagnose)
    assert diagnose_grid(again, tmp_path / "run", None, lambda line: None) == ()
    assert first["items"] == 10
    assert record_of(tmp_path / "run")["items"] == 20


def test_names_depend_on_what_decides(tiny_folder: str) -> None:
    resources = TaskResources(None)

    def name(**changes: Any) -> str:
        (unit,) = units_of(grid(tiny_folder, **changes), resources)
        return unit.name

    usual = name()
    tasks = [{"name": "truthful_mini_mc", "limit": 4}, {"name": "truthful_mini_gen", "limit": 2}]
    assert name(tasks=tasks) == name(run={"batch_size": 3}) == usual
    others = [
        name(diagnose={"items": 30}),
        name(seeds={"fit": [0, 2]}),
        name(methods=[*METHODS[:2], {"name": "odesteer", "strengths": [3], "options": SKETCH}]),
        name(contrast={"name": "truthful-mini", "answers": "all", "fraction": 0.5}),
        name(contrast={"name": "truthful-mini", "answers": "best", "fraction": 0.6}),
    ]
    assert len({usual, *others}) == 6


@pytest.mark.slow
def test_a_method_that_fails_leaves_the_others(tiny_folder: str, tmp_path: Path) -> None:
    """The logistic regression of the barrier is stopped after one iteration."""
    broken = {"name": "odesteer", "strengths": [2], "options": SKETCH | {"max_iterations": 1}}
    methods = ["none", broken, {"name": "caa", "strengths": [1]}]
    given = grid(tiny_folder, methods=methods, seeds={"fit": [0]}, diagnose={"items": 10})
    (failure,) = diagnose_alone(given, tmp_path / "run", None, lambda line: None)
    assert "odesteer" in failure
    assert "did not converge" in failure
    (diagnosis,) = read_diagnoses(LocalStorage(tmp_path / "run")).values()
    rows = diagnosis.table.to_pylist()
    assert {row["method"] for row in rows} == {"caa", UNSTEERED, DATA}
    assert "did not converge" in record_of(tmp_path / "run")["errors"]["odesteer"]
    assert len(diagnose_grid(given, tmp_path / "run", None, lambda line: None)) == 1, "tried again"


def test_the_parts_share_not_question() -> None:
    contrast = load_contrast("truthful-mini")
    parts = parts_of(contrast)
    keys = [set(part.keys) for part in parts]
    assert set.union(*keys) == set(contrast.keys)
    assert sum(map(len, keys)) == len(contrast.keys)
    assert [len(each) / len(contrast.keys) for each in keys] == pytest.approx(
        [0.4, 0.4, 0.2], abs=0.01
    )
    # The parts have nothing to do with the folds.
    folds = [[contrast.fold_of(key) for key in part.keys] for part in parts]
    assert all(0.3 < sum(filter(None, fold)) / len(fold) < 0.7 for fold in folds)


def test_a_contrast_that_is_too_small_is_refused_before_anything_runs(
    tiny_folder: str, tmp_path: Path
) -> None:
    lines = [
        {"question": f"Is {n} odd?", "answer": answer, "label": label}
        for n in range(39)
        for answer, label in (("Yes.", n % 2), ("No.", 1 - n % 2))
    ]
    path = tmp_path / "small.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    given = grid(tiny_folder, contrast={"name": str(path)})
    with pytest.raises(ContrastError, match="39 keys, too few"):
        diagnose_alone(given, tmp_path / "run", None, lambda line: None)
    assert not (tmp_path / "run").exists()


def test_nothing_to_diagnose(tiny_folder: str) -> None:
    with pytest.raises(InputError, match="no method of the grid"):
        units_of(grid(tiny_folder, methods=["none", METHODS[-1]]), TaskResources(None))
    with pytest.raises(GridError, match=r"diagnose\.items is 9"):
        grid(tiny_folder, diagnose={"items": 9})


def test_the_choice_of_statements_is_balanced_and_their_own() -> None:
    statements = load_contrast("truthful-mini").statements
    few = chosen(statements, 30)
    assert few == chosen(statements[::-1], 30)
    assert sum(s.positive for s in few) == 15
    scarce = [s for s in statements if s.positive][:4] + [s for s in statements if not s.positive]
    assert sum(s.positive for s in chosen(scarce, 30)) == 4
    assert len(chosen(scarce, 30)) == 30
    assert set(chosen(statements[:8], 30)) == set(statements[:8])


def test_shown_points() -> None:
    assert shown(2) == [0, 1]
    assert shown(11) == list(range(11))
    assert shown(101) == list(range(0, 101, 10))
    assert shown(41)[-1] == 40


@pytest.mark.slow
def test_a_run_diagnoses_at_its_end(
    tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its grid's key, and the command afterwards finds it there."""
    changes = {"models": [{"name": tiny_folder, "layers": [1]}], "diagnose": {"items": 10}}
    small = {"methods": METHODS[:2], "seeds": {"fit": [0]}}
    data = {
        "name": "small",
        "contrast": {"name": "truthful-mini", "answers": "best"},
        "tasks": [{"name": "truthful_mini_mc", "limit": 4}],
    }
    path, out = tmp_path / "grid.yaml", tmp_path / "run"
    path.write_text(json.dumps(data | changes | small))
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert record_of(out)["items"] == 10
    assert main(["diagnose", str(out)]) == 0
    assert "1 of 1 diagnoses were there before" in capsys.readouterr().err
    assert main(["diagnose", str(out), "--items", "12"]) == 0
    assert record_of(out)["items"] == 12


@pytest.mark.slow
def test_a_grid_alone_gets_a_report(
    tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cell has run; several layers, one of them of all blocks, and a fit layer by layer."""
    data = {
        "name": "small",
        "models": [{"name": tiny_folder, "layers": [1, "all"]}],
        "contrast": {"name": "truthful-mini", "answers": "best"},
        "methods": ["none", {"name": "linact", "strengths": [1], "incremental": True}],
        "tasks": ["truthful_mini_mc"],
        "diagnose": {"items": 10},
    }
    (tmp_path / "grid.yaml").write_text(json.dumps(data))
    out = tmp_path / "run"
    assert main(["diagnose", str(tmp_path / "grid.yaml"), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "report" / "index.html")
    records = [diagnosis.record for diagnosis in read_diagnoses(LocalStorage(out)).values()]
    blocks = {record.layer: record.block for record in records}
    assert blocks == {"1": 1, "all": 2}
    assert len(RunFolder(out).read_manifest().cells) == 3


@pytest.mark.chaos
def test_workers_on_ray_measure_what_this_process_does(tiny_folder: str, tmp_path: Path) -> None:
    changes = {
        "models": [{"name": tiny_folder, "layers": [0, 1]}],
        "methods": METHODS[:3],
        "seeds": {"fit": [0]},
        "diagnose": {"items": 10},
    }
    measurements = []
    for workers in (1, 2):
        given = grid(tiny_folder, run={"workers": workers, "device": "cpu"}, **changes)
        out = tmp_path / str(workers)
        assert diagnose_alone(given, out, None, lambda line: None) == ()
        diagnoses = read_diagnoses(LocalStorage(out)).values()
        assert len(diagnoses) == 2
        rows = [row for diagnosis in diagnoses for row in diagnosis.table.to_pylist()]
        measurements.append([row for row in rows if row["quantity"] != "tokens_per_second"])
    one, two = measurements
    assert len(one) == len(two) > 1000
    for row, other in zip(one, two, strict=True):
        assert row | {"value": 0} == other | {"value": 0}
        assert row["value"] == pytest.approx(other["value"], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grid.yaml"], "Add --out RUN"),
        (["run", "--out", "other"], "Leave out --out"),
        (["grid.yaml", "--out", "o", "--items", "2"], "10 or more"),
        (["nowhere"], "manifest"),
    ],
)
def test_bad_input_of_the_command(
    arguments: list[str],
    message: str,
    tiny_folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {
        "name": "small",
        "models": [{"name": tiny_folder, "layers": [1]}],
        "contrast": "truthful-mini",
        "methods": METHODS[:2],
        "tasks": ["truthful_mini_mc"],
    }
    Path("grid.yaml").write_text(json.dumps(data))
    assert main(["diagnose", *arguments]) != 0
    assert message in capsys.readouterr().err
