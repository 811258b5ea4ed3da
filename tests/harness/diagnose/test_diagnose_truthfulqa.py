"""ODESteer on real TruthfulQA and the bundled model: its field hardly bends, as published."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from steereval.harness.diagnose.material import chosen
from steereval.harness.engine.fit_request import FitRequest
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.models.diagnostics.acting import Acting
from steereval.models.diagnostics.integrator import one_step_distance
from steereval.models.diagnostics.nonlinearity import field_cosine
from steereval.models.diagnostics.paths import directions
from steereval.models.methods.odesteer import PolynomialFlow
from steereval.models.steering.hook_points import Site
from steereval.tasks.contrast.registry import ContrastSet, Statement, question_key

FOLDER = Path(__file__).parents[3].parent / "shared" / "data" / "truthfulqa"
SITE = Site(14)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.exists(), reason=f"there is no {FOLDER}"),
]


@pytest.fixture(scope="module")
def smollm2_reader(smollm2_folder: str) -> SteeredLM:
    options = {"device": "cpu", "dtype": "float32", "batch_size": 4}
    return SteeredLM(smollm2_folder, **options)


def answers() -> ContrastSet:
    """The best and the best incorrect answer of the table's questions, which end in no full stop:
    the multiple-choice file's do, and the state of a full stop is another (norm 130, not 170)."""
    with (FOLDER / "TruthfulQA.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    statements = [
        Statement(row["Question"], row[column], positive, question_key(row["Question"]))
        for row in rows
        for column, positive in (("Best Answer", True), ("Best Incorrect Answer", False))
    ]
    return ContrastSet("truthfulqa-table", "1", "", "", "", tuple(statements))


def test_the_field_hardly_bends(smollm2_reader: SteeredLM) -> None:
    """At the paper's settings the mean pairwise cosine is 0.98 and ten steps end 0.07 from one.

    300 questions to fit to, as there were, and 32 others to measure on.
    """
    whole = answers()
    fit, test, _ = whole.parted([300 / len(whole.keys), 32 / len(whole.keys), 0.1])
    statements = chosen(test.statements, 64)
    read = replace(whole, statements=(*fit.statements, *statements))
    request = FitRequest("odesteer", {}, str(SITE), "qa", 1.0, 0)
    fitter = smollm2_reader.fitter
    flow = fitter.fit_part(read, fit, request).steerers[SITE]
    assert isinstance(flow, PolynomialFlow)
    x = fitter.states(read, statements, "qa", {"last": [SITE]})["last"][SITE].double()
    cosine = float(field_cosine(directions(Acting(flow), x, 5.0)).mean())
    distance = float(one_step_distance(flow, x, 5.0, 10).mean())
    print(f"mean cosine {cosine:.4f}, one-step distance {distance:.4f}, n {len(x)}")
    assert float(x.norm(dim=1).mean()) == pytest.approx(170, abs=5)
    assert cosine == pytest.approx(0.98, abs=0.01)
    assert distance == pytest.approx(0.07, abs=0.01)
