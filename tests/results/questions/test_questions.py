"""The questions: every answer in both of its outcomes, with the numbers that were planted."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_diagnosis import ITEMS, around, diagnosed_run, fake_diagnosis, flow_run
from fake_run import FakeMethod, FakeTask, manifest_of, with_methods, write_run
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import StoreError
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.questions import effects
from steereval.results.questions.amounts import bytes_words, count_words
from steereval.results.questions.blocks import Answer, Finding
from steereval.results.questions.estimate import (
    CHANGE,
    COSINE,
    DEGREES,
    ERROR,
    SHARE,
    Estimate,
    mean_of,
    ratio_of,
    share,
)
from steereval.results.questions.evidence import Evidence, Setting, Where
from steereval.results.questions.matrix import Matrix
from steereval.results.questions.positions import positions_verdict
from steereval.results.questions.registry import ALL, answers_of
from steereval.results.questions.remarks import remarks
from steereval.results.stats import crossed_effect
from steereval.results.store.diagnosis import (
    DIAGNOSIS_SCHEMA,
    Diagnosis,
    DiagnosisRecord,
    read_diagnoses,
)
from steereval.results.store.manifest import Manifest
from steereval.results.store.run_folder import RunFolder


def _answers(*held: Any) -> tuple[Answer, ...]:
    """Of (analysis, manifest, diagnoses)."""
    return answers_of(Evidence(*held))


PLACE = Where("tiny", "14", "truthful-mini")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return diagnosed_run(tmp_path_factory.mktemp("diagnosed") / "run")


@pytest.fixture(scope="module")
def analysis(run: RunFolder) -> Analysis:
    return analyse(run)


@pytest.fixture(scope="module")
def manifest(run: RunFolder) -> Manifest:
    return run.read_manifest()


@pytest.fixture
def ask(analysis: Analysis, manifest: Manifest) -> Any:
    """The finding on a question, given what the diagnosis found."""

    def cached_answers(number: int, **changes: Any) -> Finding:
        answer = ALL[number - 1](
            Evidence(analysis, manifest, fake_diagnosis(**changes).diagnoses())
        )
        assert answer is not None
        (finding,) = answer.findings
        return finding

    return cached_answers


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def bare(finding: Finding) -> str:
    return plain(finding.sentence)


def cells(finding: Finding, table: int = 0) -> list[list[str]]:
    return [[plain(cell.text) for cell in row] for row in finding.tables[table].rows]


def test_all_eight_are_answered(run: RunFolder, analysis: Analysis) -> None:
    answers = _answers(analysis, run.read_manifest(), read_diagnoses(run.place))
    assert [answer.number for answer in answers] == list(range(1, 9))
    assert all(answer.is_answered and len(answer.sentences) == 1 for answer in answers)
    names = [t.name for a in answers for f in a.findings for t in f.tables]
    assert len(names) == len(set(names))
    for answer in answers:
        for table in (table for finding in answer.findings for table in finding.tables):
            assert {len(row) for row in table.rows} == {len(table.headings)}


# --- 1


def test_cost_that_is_none(ask: Any) -> None:
    text = bare(ask(1))
    assert text.startswith("Integrating in 10 steps instead of one costs no measurable speed (+0.0")
    assert "unsteered (-7.0" in text
    assert "takes 0.5 % of the model's operations" in text


def test_cost_of_steps(ask: Any) -> None:
    finding = ask(1, slower_by_steps=0.2)
    assert "Integrating in 10 steps instead of one slows decoding down (-19.9" in bare(finding)
    table = {(row[0], row[2]): row for row in cells(finding)}
    assert table["unsteered", "–"][4:] == ["–", "270 M", "–"]
    assert table["odesteer", "10"][5:] == ["1.35 M", "5.3 MB"]


def test_cost_is_paired_by_round(ask: Any) -> None:
    """Rounds differ by a tenth, the method by a thousandth, which is how well it is known."""
    (change,) = (row[4] for row in cells(ask(1)) if row[0] == "caa")
    low, high = (float(x) for x in change[change.index("[") + 1 : -1].split(","))
    assert -0.2 < low < -0.1 < high < 0.1


def test_effects_are_drawn_over_speed(ask: Any) -> None:
    (_, scatter) = ask(1).figures
    points = {name: (x, y) for name, x, y in scatter.points}
    x, y = points["odesteer"]
    assert x.mean == pytest.approx(-0.07, abs=0.002)
    assert y.mean > 0.2
    # cells share work, so their speeds, 90 against 100, say nothing of a method
    assert "gradient_ascent" not in points


def test_rough_timings_tell_no_cost(analysis: Analysis, manifest: Manifest) -> None:
    """Rounds of one step that differ by a fifth from those of ten."""
    rows = fake_diagnosis().table().to_pylist()
    for row in rows:
        if row["quantity"] == "tokens_per_second" and row["steps"] == 10:
            row["value"] *= 1.2 if int(row["item_id"]) % 2 else 0.8
    diagnosis = Diagnosis(pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA))
    (answer,) = (a for a in _answers(analysis, manifest, {"rough": diagnosis}) if a.number == 1)
    assert "one has a cost below the resolution of these timings (" in answer.sentences[0]


@pytest.mark.slow
def test_cost_is_reported_where_it_was_measured(analysis: Analysis, manifest: Manifest) -> None:
    """Another contrast set of the same model and layers has the same cost."""
    timed = fake_diagnosis().diagnosis()
    other = fake_diagnosis(contrast="toxicity", left_out=("tokens_per_second",)).diagnosis()
    (answer,) = (
        each for each in _answers(analysis, manifest, {"a": timed, "b": other}) if each.number == 1
    )
    (finding,) = answer.findings
    assert finding.is_answered


def test_cost_without_speeds(ask: Any) -> None:
    finding = ask(1, left_out=("tokens_per_second",))
    assert not finding.is_answered
    assert "Not measured: the speed" in bare(finding)
    assert "steereval diagnose RUN" in bare(finding)


# --- 2


def test_a_probe_that_works_mid_generation(ask: Any) -> None:
    text = bare(ask(2))
    assert "mid-generation the probe of odesteer keeps its power: its AUC at token 4" in text


def auc(mean: float, low: float, high: float) -> Estimate:
    return Estimate(mean, low, high, 60, 30, 3)


def test_a_loss_of_power_that_few_items_cannot_exclude_is_open() -> None:
    there, lost = auc(0.61, 0.47, 0.75), auc(-0.16, -0.34, 0.01)
    open_one = "it is open whether the probe of caa keeps its power"
    assert positions_verdict("caa", there, lost) == open_one
    assert positions_verdict("caa", there, None) == open_one
    assert (
        positions_verdict("caa", there, auc(-0.02, -0.09, 0.05))
        == "the probe of caa keeps its power"
    )


def test_a_probe_that_loses_power(ask: Any) -> None:
    text = bare(ask(2, auc_shift=(3.0, 1.5)))
    assert "the probe of odesteer loses power: its AUC at token 4 of the answer is 0.8" in text
    assert "where it was fitted 0.9" in text
    assert "a change of -0.09 [-0.15, -0.03]" in text


def test_a_probe_that_is_blind_where_steering_acts(ask: Any) -> None:
    text = bare(ask(2, auc_shift=(3.0, 0.0)))
    assert "the probe of odesteer is no better than chance: its AUC at token 4" in text


def test_positions_are_in_the_order_of_the_text(ask: Any) -> None:
    table = ask(2).tables[-1]
    assert [heading.title for heading in table.headings[1:]] == [
        "end of the question",
        *("token 1", "token 4", "token 16"),
        *("mean of the answer", "last token"),
    ]


def test_recorded_positions_are_reported(analysis: Analysis, manifest: Manifest) -> None:
    methods = dict(with_methods(manifest, positions="generated").methods)
    methods["caa"] = methods["caa"].model_copy(update={"positions": "all"})
    grid = {"contrast": {"name": "a"}, "methods": [{"name": "caa", "contrast": {"token": "mean"}}]}
    planned = manifest.model_copy(update={"methods": methods, "grid": grid})
    answers = _answers(analysis, planned, {})
    (finding,) = (f for a in answers if a.number == 2 for f in a.findings)
    assert finding.sentence == (
        "Steerers are fitted at the last token of the text or the mean of the answer's tokens and "
        "steer the tokens “generated” or “all”."
    )
    table = {row[0]: row for row in cells(finding)}
    assert table["caa"][1:4] == ["the mean of the answer's tokens", "all", "14"]
    assert table["odesteer"][4].startswith("+3")


# --- 3


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((2.0, 1.0), "The ODE gains over gradient_ascent"),
        ((1.0, 1.0), "No gain of the ODE over gradient_ascent is seen"),
        ((1.0, 2.0), "The ODE falls behind gradient_ascent"),
    ],
)
def test_the_ode_at_equal_displacement(ask: Any, gains: tuple[float, float], verdict: str) -> None:
    finding = ask(3, gains=gains)
    assert bare(finding).startswith(f"{verdict}: displacing by 0.1 median norms, ")
    assert f"odesteer raises h of a barrier fitted on other data by +{gains[0]:.3f} nats" in bare(
        finding
    )
    assert f"a difference of {gains[0] - gains[1]:+.3f} nats" in bare(finding)


def test_the_error_of_solvers(ask: Any) -> None:
    finding = ask(3)
    text, one_step = finding.more
    assert one_step.startswith("10 steps of odesteer at strength 10 end 0.07")
    assert plain(text).startswith("Euler's ends are off the exact solution by 4.0")
    assert "with 1 step and 0.40" in plain(text)
    table = {row[0]: row for row in cells(finding, 1)}
    assert table["10"][1].startswith("0.40")
    assert table["10"][2].startswith("4.0e-04 %")


def test_no_rival_was_measured(ask: Any) -> None:
    finding = ask(3, left_out=("gain_at_displacement",))
    assert bare(finding).startswith(
        "Not measured: the ODE and another method at equal displacement"
    )
    assert finding.is_answered


@pytest.mark.parametrize(("effect", "verdict"), [(0.35, "gains over"), (0.0, "falls behind")])
def test_rows_at_equal_displacement(tmp_path: Path, effect: float, verdict: str) -> None:
    methods = (
        FakeMethod("odesteer", (0.05,), lambda task, s: effect),
        FakeMethod("caa", (0.05,), lambda task, s: 0.35 - effect),
    )
    run = flow_run(methods=methods)
    folder = write_run(run, tmp_path / "run")
    manifest = folder.read_manifest()
    analysis = analyse(folder)
    assert all(a.number != 3 for a in _answers(analysis, manifest, {}))
    manifest = with_methods(manifest, unit="displacement")
    (answer,) = (a for a in _answers(analysis, manifest, {}) if a.number == 3)
    assert answer.sentences[0].startswith(f"The ODE {verdict} caa: at equal displacement")
    ours, theirs = (
        100 * r.comparison.effect.estimate
        for m in ("odesteer", "caa")
        for r in analysis.rows
        if (r.arm.method, r.task.name) == (m, "truth") and r.comparison
    )
    assert f"less that of caa (layer 14) is {ours - theirs:+.1f} points" in plain(
        answer.sentences[0]
    )


# --- 4


def test_scores_from_0_to_1_differ_by_1_at_most(analysis: Analysis) -> None:
    """Whatever interval two items leave."""
    compared = [row for row in analysis.rows if row.comparison and row.metric.in_points]
    first = compared[0]
    alike = [r for r in compared if (r.task, r.metric) == (first.task, first.metric)]

    def short(row: Row) -> Row:
        assert row.comparison is not None
        values = row.comparison.values[:2]
        grouping = replace(row.comparison.grouping, clusters=None, folds=None)
        return replace(row, comparison=replace(row.comparison, values=values, grouping=grouping))

    result = effects.between(short(alike[0]), short(alike[1]), 0.95)
    assert result is not None
    assert (result.low, result.high) == (-1.0, 1.0)


def test_a_significant_result_is_reported(ask: Any, analysis: Analysis) -> None:
    (row,) = (r for r in analysis.rows if (r.arm.method, r.task.name) == ("odesteer", "truth"))
    assert row.verdict is not None
    text = bare(ask(4))
    assert text.startswith("In part: ")
    assert f"odesteer (layer 14) on truth ({row.verdict.sentence}, adjusted p < 0.001)" in text


def test_what_is_not_significant_comes_with_what_is_detected(tmp_path: Path) -> None:
    folder = write_run(flow_run(methods=(FakeMethod("caa", (2.0,)),)), tmp_path / "run")
    analysis = analyse(folder)
    answers = _answers(analysis, folder.read_manifest(), {})
    (answer,) = (a for a in answers if a.number == 4)
    assert answer.sentences[0].startswith("No: caa (layer 14) on truth (")
    assert "is not an improvement beyond chance" in answer.sentences[0]
    assert "this design detects" in answer.sentences[0]


def test_harm_is_named(tmp_path: Path) -> None:
    harms = FakeMethod("caa", (2.0,), lambda task, s: -0.4)
    folder = write_run(flow_run(methods=(harms,)), tmp_path / "run")
    answers = _answers(analyse(folder), folder.read_manifest(), {})
    (answer,) = (a for a in answers if a.number == 4)
    assert "caa (layer 14) on truth did harm" in answer.sentences[0]


# --- 5

CARD = {
    "name": "truthful-mini", "version": "1", "content_hash": "ab" * 32, "source": "written",
    "label_rule": "true answers are positive", "n_positive": 800, "n_negative": 900, "n_keys": 300,
    "n_duplicates": 3, "mean_length_positive": 40.0, "mean_length_negative": 52.5, "warnings": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("auc", "message", "warned"),
    [
        (0.55, "length does not separate them (AUC of length 0.55)", False),
        (0.31, "length does not separate them (AUC of length 0.69)", False),
        (0.7, "length alone separates them (AUC of length 0.70)", True),
        (0.2, "length alone separates them (AUC of length 0.80)", True),
    ],
)
def test_length_that_gives_classes_away(
    analysis: Analysis, manifest: Manifest, auc: float, message: str, warned: bool
) -> None:
    cards = {"truthful-mini": CARD | {"length_auc": auc}}
    answers = _answers(analysis, manifest.model_copy(update={"contrasts": cards}), {})
    (finding,) = (f for a in answers if a.number == 5 for f in a.findings)
    assert finding.sentence == (
        "truthful-mini (version 1) holds 800 positive and 900 negative statements on 300 "
        f"questions; true answers are positive; {message}."
    )
    assert bool(finding.warnings) == warned
    facts = dict(cells(finding))
    assert facts["Duplicates"] == "3"
    assert facts["Mean length, negative (characters)"] == "52.5"


def test_a_warning_of_the_card_is_said_once(analysis: Analysis, manifest: Manifest) -> None:
    warnings = ["length alone separates the classes: AUC 0.80", "3 statements repeat another one"]
    cards = {"truthful-mini": CARD | {"length_auc": 0.8, "warnings": warnings}}
    answers = _answers(analysis, manifest.model_copy(update={"contrasts": cards}), {})
    (finding,) = (f for a in answers if a.number == 5 for f in a.findings)
    assert finding.warnings == tuple(f"truthful-mini: {text}" for text in warnings)


def test_effects_over_subsets(analysis: Analysis, manifest: Manifest) -> None:
    grid = {"contrast": {"name": "truthful-mini", "fraction": 0.8}}
    answers = _answers(
        analysis, manifest.model_copy(update={"grid": grid}), fake_diagnosis().diagnoses()
    )
    (finding,) = (f for a in answers if a.number == 5 for f in a.findings)
    spread, agreement = map(plain, finding.more)
    assert spread.startswith("Between draws of 80 % of the questions the effect of ")
    deviations = {
        row.name: np.std(100 * row.comparison.values.mean(axis=0), ddof=1)
        for row in analysis.rows
        if row.task.name == "truth" and row.comparison
    }
    name = max(deviations, key=lambda label: deviations[label])
    assert f"the effect of {name} on truth spreads by {deviations[name]:.1f} points" in spread
    assert agreement.startswith("The displacement of odesteer at strength 10 has cosine 0.90")


# --- 6


@pytest.mark.parametrize(
    ("rises", "verdict"),
    [
        (0.99, "The barrier property holds for odesteer at strength 10:"),
        (0.90, "Whether the barrier property holds for odesteer at strength 10 is open:"),
        (0.7, "does not hold for odesteer at strength 10, though h rises more often than it falls"),
        (0.5, "does not hold for odesteer at strength 10, and h rises no more often than it falls"),
        (0.3, "does not hold for odesteer at strength 10, and h falls more often than it rises"),
    ],
)
def test_the_barrier_property(ask: Any, rises: float, verdict: str) -> None:
    text = bare(ask(6, rises=rises))
    assert verdict in text
    assert f"fitted on other data h rises in {100 * rises:.0f}" in text.replace(".0", "")
    assert "50 % [" in text
    assert "reach h ≥ 0, and 75 % [" in text
    assert text.endswith("on its own h it rises in 100 % [83, 100], by construction.")


@pytest.mark.slow
def test_a_constant_vector_is_reported_next_to_it(analysis: Analysis, manifest: Manifest) -> None:
    rows = fake_diagnosis().table().to_pylist()
    rows += [
        row | {"method": "caa", "strength": 2.0}
        for row in fake_diagnosis(rises=0.9).table().to_pylist()
        if (row["quantity"], row["judge"]) == ("rises", "crossfit")
    ]
    diagnosis = Diagnosis(pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA))
    (answer,) = (a for a in _answers(analysis, manifest, {"x": diagnosis}) if a.number == 6)
    (finding,) = answer.findings[0].more
    assert plain(finding).startswith(
        "Under the constant vector of caa at strength 2 it rises in 90.0 %"
    )


def test_the_intervals_are_those_of_the_estimators(ask: Any) -> None:
    effect = crossed_effect(around(0.7, 0.02, "crossfit"), np.arange(ITEMS) % 20, resamples=0)
    low, high = 100 * effect.low, 100 * effect.high
    assert f"rises in 70.0 % [{low:.1f}, {high:.1f}]" in bare(ask(6))


@pytest.mark.slow
def test_its_own_h_alone_is_not_an_answer(analysis: Analysis, manifest: Manifest) -> None:
    table = fake_diagnosis().table()
    rows = [row for row in table.to_pylist() if row["judge"] in (None, "own")]
    diagnosis = {"own": Diagnosis(pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA))}
    (answer,) = (a for a in _answers(analysis, manifest, diagnosis) if a.number == 6)
    assert not answer.is_answered
    assert (
        "Not measured: h along the paths under a barrier that was fitted on other data"
        in (answer.sentences[0])
    )
    assert (
        "On its own h, which says nothing, odesteer at strength 10 rises in 100"
        in (answer.sentences[0])
    )


# --- 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leaves", "verdict"),
    [
        (0.6, "leaves the data: 60 %"),
        (0.05, "stays on the data: 5 %"),
        (0.15, "may leave the data"),
    ],
)
def test_ends_off_the_data(ask: Any, leaves: float, verdict: str) -> None:
    text = bare(ask(7, leaves=leaves))
    assert text.startswith(f"Steering by odesteer at strength 10 {verdict}")
    assert "against 5 % [" in text
    assert "other data changes by +1.20 nats" in text
    assert "and the norm by +4.00 %" in text


def test_probe_and_texts_are_reported(ask: Any, analysis: Analysis) -> None:
    finding = ask(7)
    probe, texts = map(plain, finding.more)
    assert "separates held-out statements with AUC 1.00 [0.83, 1.00]" in probe
    assert "its probabilities are off (ECE 0.1" in probe
    (row,) = (r for r in analysis.rows if (r.arm.method, r.task.name) == ("odesteer", "texts"))
    assert row.verdict is not None
    assert row.verdict.sentence.split(";")[0] in texts


@pytest.mark.slow
def test_others_that_leave_the_data_are_named(analysis: Analysis, manifest: Manifest) -> None:
    rows = fake_diagnosis(leaves=0.05).table().to_pylist()
    rows += [
        row | {"method": "caa", "strength": 2.0}
        for row in fake_diagnosis(leaves=0.6).table().to_pylist()
        if (row["quantity"], row["method"]) == ("mahalanobis", "odesteer")
    ]
    diagnosis = Diagnosis(pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA))
    (answer,) = (a for a in _answers(analysis, manifest, {"x": diagnosis}) if a.number == 7)
    assert plain(answer.findings[0].more[0]).startswith("Of the others caa at strength 2 (60 % [")
    assert answer.findings[0].more[0].endswith(" leaves the data.")


def test_paths_that_were_not_measured(ask: Any) -> None:
    finding = ask(7, left_out=("mahalanobis", "nearest", "log_ratio", "norm_ratio"))
    assert not finding.is_answered
    assert bare(finding).startswith("Not measured: the paths of the methods")
    assert finding.tables[0].name == "q7-texts-tiny"


# --- 8


@pytest.mark.parametrize(
    ("cosine", "verdict"),
    [
        (0.98, "is nearly constant"),
        (0.95, "may be nearly constant"),
        (0.6, "varies from place to place"),
    ],
)
def test_the_field(ask: Any, cosine: float, verdict: str) -> None:
    text = bare(ask(8, cosine=cosine))
    assert text.startswith(f"The field of odesteer at strength 10 {verdict}: its direction at one ")
    assert f"cosine {cosine:.3f} [" in text
    assert "and 0.800 [" in text
    assert "paths are 1.002 [" in text


def test_a_constant_field_has_cosine_one(ask: Any) -> None:
    """By construction, so without the doubt that a share of 100 % leaves."""
    rows = {row[0]: row for row in cells(ask(8))}
    assert rows["caa"][1] == "1.00 [1.00, 1.00]"


# --- whatever the question


def test_without_a_diagnosis_only_what_the_rows_answer(
    analysis: Analysis, manifest: Manifest
) -> None:
    answers = _answers(analysis, manifest, {})
    assert [answer.number for answer in answers] == [2, 4, 5, 7]
    assert all("diagnose" not in sentence for a in answers for sentence in a.sentences)


@pytest.mark.slow
def test_a_diagnosis_without_rows_is_reported(tmp_path: Path) -> None:
    """As `steereval diagnose GRID.yaml` leaves it: a manifest without cells."""
    folder = RunFolder(tmp_path)
    folder.create()
    folder.write_manifest(manifest_of(flow_run(), []))
    answers = _answers(analyse(folder), folder.read_manifest(), fake_diagnosis().diagnoses())
    assert [answer.number for answer in answers] == [1, 2, 3, 5, 6, 7, 8]


@pytest.mark.slow
def test_several_places_are_distinguished(analysis: Analysis, manifest: Manifest) -> None:
    both = {layer: fake_diagnosis(layer=layer).diagnosis() for layer in ("14", "all")}
    answers = _answers(analysis, manifest, both)
    for answer in (a for a in answers if a.number not in (4, 5)):
        first, second = answer.sentences
        assert first.startswith("tiny, layer 14, truthful-mini: ")
        assert second.startswith("tiny, all layers, truthful-mini: ")
    names = [t.name for a in answers for f in a.findings for t in f.tables]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_two_diagnoses_of_one_place_are_reported_by_their_methods(
    analysis: Analysis, manifest: Manifest
) -> None:
    """As of fits to other shares of one contrast set: both have the unsteered model's rows."""
    both = {name: fake_diagnosis().diagnosis() for name in ("first", "second")}
    answers = _answers(analysis, manifest, both)
    (answer,) = (answer for answer in answers if answer.number == 6)
    assert all(
        sentence.startswith("tiny, layer 14, truthful-mini (odesteer, gradient_ascent, caa): ")
        for sentence in (finding.sentence for finding in answer.findings)
    )
    names = [t.name for a in answers for f in a.findings for t in f.tables]
    assert len(names) == len(set(names))


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["rises", "field_cosine", "probe_score", "mahalanobis"])
def test_one_missing_quantity_leaves_the_others(ask: Any, quantity: str) -> None:
    for number in (1, 2, 3, 5, 6, 7, 8):
        assert ask(number, left_out=(quantity,)).sentence


@pytest.mark.slow
def test_the_chosen_strength_is_the_usual_one(tmp_path: Path) -> None:
    methods = (FakeMethod("odesteer", (1.0, 10.0, 20.0), lambda t, s: 0.4 if s == 10.0 else -0.2),)
    tasks = (FakeTask("truth", n_validation=200, n_test=60),)
    run = flow_run(methods=methods, tasks=tasks, select={"metric": "acc", "task": None})
    folder = write_run(run, tmp_path / "run")
    evidence = Evidence(analyse(folder), folder.read_manifest(), fake_diagnosis().diagnoses())
    result = [Setting("odesteer", strength) for strength in (1.0, 10.0, 20.0)]
    assert evidence.subject(PLACE, result) == Setting("odesteer", 10.0)
    unchosen = dataclasses.replace(PLACE, layer="3")
    assert evidence.subject(unchosen, result) == Setting("odesteer", 20.0)


def test_two_values_for_one_item_are_refused(analysis: Analysis, manifest: Manifest) -> None:
    table = fake_diagnosis().table()
    diagnosis = {"twice": Diagnosis(pa.concat_tables([table, table]))}
    with pytest.raises(StoreError, match="two values of"):
        _answers(analysis, manifest, diagnosis)


def matrix(values: Any, seeds: tuple[int, ...]) -> Matrix:
    import pandas as pd

    array = np.asarray(values, float)
    items = pd.Index([f"i{i}" for i in range(len(array))], dtype=object)
    return Matrix(array, items, seeds, None, None)


def test_pairs_share_items_and_seeds() -> None:
    a = matrix([[1.0, 2.0], [3.0, 4.0]], (0, 1))
    b = matrix([[1.0], [1.0], [1.0]], (-1,))
    paired = a.minus(b)
    assert paired is not None
    assert paired.values.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert a.minus(matrix([[1.0, 1.0]], (5, 6))) is None


@pytest.mark.slow
def test_what_a_seed_leaves_alone_is_not_a_loss_of_the_others(
    analysis: Analysis, manifest: Manifest
) -> None:
    """Fit seed 0 moves the first half of the items, whose h rises; the others are as ever."""
    rows = [
        row
        for row in fake_diagnosis(rises=1.0, spread=0.0).table().to_pylist()
        if not (
            row["quantity"] == "rises"
            and row["fit_seed"] == 0
            and int(row["item_id"][1:]) >= ITEMS // 2
        )
    ]
    diagnosis = Diagnosis(pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA))
    (answer,) = (a for a in _answers(analysis, manifest, {"x": diagnosis}) if a.number == 6)
    assert "h rises in 100 % [83, 100] of the steps" in plain(answer.sentences[0])
    (count,) = (row[-1] for row in cells(answer.findings[0]))
    assert count == str(ITEMS)


@pytest.mark.slow
def test_stays_are_counted_in_the_seeds_that_reached(
    analysis: Analysis, manifest: Manifest
) -> None:
    """Of what reaches under one fit seed alone, what stays there is not lost."""
    rows = fake_diagnosis().table().to_pylist()
    for row in rows:
        if row["quantity"] == "reaches" and row["fit_seed"] != 0:
            row["value"] = 0.0
    rows = [
        r for r in rows if r["quantity"] != "stays" or r["fit_seed"] == 0 or r["item_id"] == "s001"
    ]
    for row in rows:
        if row["quantity"] == "reaches" and row["item_id"] == "s001":
            row["value"] = 1.0
    diagnosis = Diagnosis(pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA))
    (answer,) = (a for a in _answers(analysis, manifest, {"x": diagnosis}) if a.number == 6)
    (line,) = cells(answer.findings[0])
    # fit seed 0: 30 of 40 stay; the others: the one that reaches does
    assert line[5].startswith(f"{(75 + 100 + 100) / 3:.0f} % [")


def test_a_share_of_few_is_as_uncertain_as_few() -> None:
    """All of three items that reached it stay, of a hundred that did not."""
    reached = np.zeros((100, 1))
    reached[:3] = 1.0
    result = ratio_of(matrix(reached, (0,)), matrix(reached, (0,)), 0.95)
    assert result is not None
    assert (result.mean, result.high, result.n_clusters) == (1.0, 1.0, 3)
    assert result.low == pytest.approx(0.025 ** (1 / 3))
    assert ratio_of(matrix(reached, (0,)), matrix(0 * reached, (0,)), 0.95) is None


def test_the_mean_of_a_ragged_matrix_is_that_of_each_seed() -> None:
    values = around(0.5, 0.1, "ragged")
    values[::3, 1] = np.nan
    result = mean_of(matrix(values, (0, 1, 2)), 0.95)
    assert result.mean == pytest.approx(np.nanmean(values, axis=0).mean())


@given(st.integers(2, 200), st.booleans())
def test_all_alike_is_not_certain(clusters: int, full: bool) -> None:
    """Clopper and Pearson: of n trials all, the lower end is the n-th root of 0.025."""
    value = 1.0 if full else 0.0
    estimate = share(Estimate(value, value, value, clusters, clusters, 1), 0.95)
    end = estimate.low if full else 1.0 - estimate.high
    assert end == pytest.approx(0.025 ** (1 / clusters))
    assert (estimate.high if full else estimate.low) == value


@pytest.mark.parametrize(
    ("mean", "half", "unit", "text"),
    [
        (0.71, 0.07, SHARE, "71 % [64, 78]"),
        (0.70996, 0.007, SHARE, "71.0 % [70.3, 71.7]"),
        (-0.07, 0.001, CHANGE, "-7.00 % [-7.10, -6.90]"),
        (0.98, 0.03, COSINE, "0.98 [0.95, 1.01]"),
        (0.98, 0.0, COSINE, "0.98 [0.98, 0.98]"),
        (4e-6, 1e-7, SHARE, "0.0004 % [0.0004, 0.0004]"),
        (4e-6, 1e-7, ERROR, "4.0e-04 % [3.9e-04, 4.1e-04]"),
        (0.0082, 0.0001, ERROR, "0.820 % [0.810, 0.830]"),
        (1e-9, 1e-10, DEGREES, "0.0000° [0.0000, 0.0000]"),
        (0.5, np.inf, SHARE, "50 % [-∞, ∞]"),
    ],
)
def test_numbers_have_the_digits_they_deserve(
    mean: float, half: float, unit: Any, text: str
) -> None:
    assert plain(Estimate(mean, mean - half, mean + half, 9, 9, 1).words(unit)) == text


def test_a_mean_over_seeds_and_clusters_is_crossed() -> None:
    values = around(0.5, 0.1, "mean")
    estimate = mean_of(
        dataclasses.replace(matrix(values, (0, 1, 2)), clusters=np.arange(60) % 20), 0.95
    )
    effect = crossed_effect(values, np.arange(60) % 20, resamples=0)
    assert (estimate.mean, estimate.low, estimate.high) == (
        effect.estimate,
        effect.low,
        effect.high,
    )
    assert (estimate.n_items, estimate.n_clusters, estimate.n_seeds) == (60, 20, 3)


def test_records_tell_what_was_measured_on() -> None:
    part = {"keys": 4, "positive": 5, "negative": 6}
    record = {
        "model": "tiny",
        "layer": "14",
        "contrast": "truthful-mini",
        "counts": {"fit": part, "judge": part, "test": part},
        "errors": {"mimic": "singular"},
        "left_out": {"iti_heads": "it acts on attention heads"},
        "unreached": {"linact": [0.05, 0.1]},
    }
    diagnosis = Diagnosis(DIAGNOSIS_SCHEMA.empty_table(), DiagnosisRecord.model_validate(record))
    measured, *others = remarks({"a": diagnosis, "b": diagnosis})
    assert measured.startswith(
        "tiny, layer 14, truthful-mini: steerers were fitted to 11 statements"
    )
    assert others == [
        "tiny, layer 14, truthful-mini: mimic could not be diagnosed: singular",
        "iti_heads is not diagnosed: it acts on attention heads.",
        "tiny, layer 14, truthful-mini: no strength of linact displaces by 0.05, 0.1 median norms.",
    ]
    assert remarks({"bare": Diagnosis(DIAGNOSIS_SCHEMA.empty_table())}) == ()


def test_large_numbers_in_words() -> None:
    assert [count_words(x) for x in (12, 1_350_000, 2.7e8, 3e12)] == [
        "12",
        "1.35 M",
        "270 M",
        "3 T",
    ]
    assert [bytes_words(x) for x in (12, 5_300_000)] == ["12 bytes", "5.3 MB"]


def test_an_answer_has_its_anchor() -> None:
    answer = Answer(3, "?", "", (Finding("a"), Finding("a", False), Finding("b", False)))
    assert (answer.anchor, answer.sentences, answer.is_answered) == ("q3", ("a", "b"), True)
