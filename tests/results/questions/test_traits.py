"""Questions are raised by what the grid's methods are, not by their names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fake_diagnosis import diagnosed_run, fake_diagnosis
from fake_run import FakeMethod, FakeTask, with_methods

from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.questions import cost
from steereval.results.questions.evidence import BARRIER, CONSTANT, FLOW, Evidence
from steereval.results.questions.registry import answers_of
from steereval.results.store.diagnosis import DIAGNOSIS_SCHEMA, Diagnosis, read_diagnoses
from steereval.results.store.manifest import Manifest
from steereval.results.store.run_folder import RunFolder

TASKS = (FakeTask("truth", n_validation=0, n_test=60),)


def only(method: str, result: Diagnosis) -> Diagnosis:
    """The rows of one method, of the unsteered model and of natural activations."""
    is_method = pc.is_in(result.table["method"], pa.array([method, "none", "data"]))
    return Diagnosis(result.table.filter(is_method), result.record)


def questions_of(analysis: Analysis, manifest: Manifest, result: Diagnosis) -> list[int]:
    answers = answers_of(Evidence(analysis, manifest, {"x": result}))
    return [answer.number for answer in answers]


@pytest.mark.slow
def test_a_grid_of_constant_vectors_is_not_asked_about_fields(tmp_path: Path) -> None:
    run = diagnosed_run(tmp_path / "run", methods=(FakeMethod("caa", (2.0,)),), tasks=TASKS)
    diagnosis = only("caa", fake_diagnosis().diagnosis())
    evidence = Evidence(analyse(run), run.read_manifest(), {"x": diagnosis})
    answers = {answer.number: answer for answer in answers_of(evidence)}
    assert list(answers) == [1, 2, 4, 5, 7]
    assert answers[1].question == cost.QUESTION
    assert not evidence.raises(FLOW)
    assert not evidence.raises(BARRIER)


def renamed(result: Diagnosis, old: str, new: str) -> Diagnosis:
    rows = result.table.to_pylist()
    for row in rows:
        row["method"] = new if row["method"] == old else row["method"]
    return Diagnosis(pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA), result.record)


@pytest.fixture(scope="module")
def own_method(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A user's own flow, after a constant vector in the grid."""
    methods = (FakeMethod("caa", (2.0,)), FakeMethod("mine", (10.0,)))
    return diagnosed_run(tmp_path_factory.mktemp("own") / "run", methods=methods, tasks=TASKS)


@pytest.mark.slow
def test_a_method_of_ones_own_gets_the_questions_of_its_traits(own_method: RunFolder) -> None:
    manifest = own_method.read_manifest()
    with_traits = manifest.methods["mine"].model_copy(update={"traits": ["barrier", "flow"]})
    manifest = manifest.model_copy(update={"methods": manifest.methods | {"mine": with_traits}})
    diagnosis = renamed(fake_diagnosis().diagnosis(), "odesteer", "mine")
    evidence = Evidence(analyse(own_method), manifest, {"x": diagnosis})
    answers = {answer.number: answer for answer in answers_of(evidence)}
    assert list(answers) == list(range(1, 9))
    assert answers[1].question == cost.QUESTION_OF_FLOWS
    for number in (1, 3, 6, 7, 8):
        assert "mine" in answers[number].sentences[0], number
    names = [t.name for a in answers.values() for f in a.findings for t in f.tables]
    assert not any(name.startswith("q1-published") for name in names)


def test_without_traits_in_the_manifest_the_diagnosis_shows_them(own_method: RunFolder) -> None:
    """As in a run folder of an earlier version."""
    manifest = with_methods(own_method.read_manifest(), traits=None)
    diagnosis = renamed(fake_diagnosis().diagnosis(), "odesteer", "mine")
    evidence = Evidence(analyse(own_method), manifest, {"x": diagnosis})
    assert evidence.traits("mine") == {BARRIER, FLOW}
    assert evidence.traits("caa") == set()
    bare = Evidence(analyse(own_method), manifest, {})
    assert bare.traits("mine") == set()
    assert [answer.number for answer in answers_of(bare)] == [2, 4, 5]


@pytest.mark.slow
def test_traits_of_the_fake_grid(tmp_path: Path) -> None:
    run = diagnosed_run(tmp_path / "run")
    evidence = Evidence(analyse(run), run.read_manifest(), read_diagnoses(run.place))
    assert evidence.traits("odesteer") == {BARRIER, FLOW}
    assert evidence.traits("caa") == {CONSTANT}
    assert min(evidence.steered, key=evidence.rank) == "odesteer"
    assert questions_of(evidence.analysis, run.read_manifest(), fake_diagnosis().diagnosis()) == [
        *range(1, 9)
    ]
