"""The bundled truthfulness task: documents, and scores against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import TaskError
from steereval.tasks.benchmarks.truthful_mini.documents import document, load
from steereval.tasks.benchmarks.truthful_mini.scoring import score_answer, score_choices

DOCUMENT = {"question": "q", "labels": [1, 1, 0, 0]}


def results(*probabilities: float) -> list[tuple[float, bool]]:
    return [(math.log(p) if p else -math.inf, False) for p in probabilities]


@pytest.mark.parametrize(
    ("probabilities", "mc1", "mc2"),
    [
        ((0.4, 0.1, 0.3, 0.2), 1.0, 0.5),
        ((0.2, 0.6, 0.3, 0.1), 0.0, 0.8 / 1.2),  # the other correct answer does not help mc1
        ((0.3, 0.3, 0.3, 0.1), 0.0, 0.6),  # a tie is not above
        ((0.2, 0.0, 0.1, 0.0), 1.0, 2 / 3),
        ((0.0, 0.0, 0.1, 0.1), 0.0, 0.0),
    ],
)
def test_scores_of_choices(probabilities: tuple[float, ...], mc1: float, mc2: float) -> None:
    scores = score_choices(DOCUMENT, results(*probabilities))
    assert scores == {"mc1": mc1, "mc2": pytest.approx(mc2)}


@given(st.lists(st.floats(-50, 0), min_size=4, max_size=4), st.floats(-5000, 0))
def test_mc2_is_stable_however_unlikely_all_answers_are(
    likelihoods: list[float], shift: float
) -> None:
    near = score_choices(DOCUMENT, [(value, False) for value in likelihoods])
    far = score_choices(DOCUMENT, [(value + shift, False) for value in likelihoods])
    assert far["mc2"] == pytest.approx(near["mc2"], abs=1e-6)
    assert 0 <= far["mc2"] <= 1


@pytest.mark.parametrize("bad", [[math.nan, 0.0, 0.0, 0.0], [-math.inf] * 4])
def test_scores_that_do_not_exist_are_an_error(bad: list[float]) -> None:
    with pytest.raises(TaskError, match="the answers to 'q' have the log-likelihoods"):
        score_choices(DOCUMENT, [(value, False) for value in bad])


def test_scores_of_an_answer() -> None:
    doc = {
        "correct_answers": ["The moon is made of rock.", "It is rock."],
        "incorrect_answers": ["The moon is made of cheese."],
    }
    near_true = score_answer(doc, [" It is rock "])
    assert [near_true[f"{name}_acc"] for name in ("bleu", "rouge1", "rougeL")] == [1.0, 1.0, 1.0]
    assert near_true["distinct_1"] == 1.0
    near_false = score_answer(doc, [" The moon is made of cheese."])
    assert [near_false[f"{name}_acc"] for name in ("bleu", "rouge1", "rougeL")] == [0.0, 0.0, 0.0]
    assert set(score_answer(doc, [""]).values()) == {0.0}


def test_documents(questions: list[dict[str, Any]]) -> None:
    docs = load(version=1.0)["test"].to_list()
    assert [doc["question"] for doc in docs] == [row["question"] for row in questions]
    for doc, row in zip(docs, questions, strict=True):
        assert doc["choices"] == row["correct_answers"] + row["incorrect_answers"]
        assert doc["labels"] == [1, 1, 0, 0]
        assert doc["category"] == row["category"]


def test_the_best_answer_comes_first_wherever_it_is_listed() -> None:
    row = {"best_answer": "b", "correct_answers": ["a", "b", "c"], "incorrect_answers": ["x"]}
    assert document(row)["choices"] == ["b", "a", "c", "x"]
    assert document(row)["labels"] == [1, 1, 1, 0]
