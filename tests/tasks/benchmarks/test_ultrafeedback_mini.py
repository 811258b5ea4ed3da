"""The bundled preference task: documents, and scores against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import TaskError
from steereval.tasks.benchmarks.ultrafeedback_mini.documents import load, pairs
from steereval.tasks.benchmarks.ultrafeedback_mini.scoring import score_answer, score_pair

DOCUMENT = {"question": "q", "choices": ["four", "ten bytes!"]}


def results(*likelihoods: float) -> list[tuple[float, bool]]:
    return [(likelihood, False) for likelihood in likelihoods]


@pytest.mark.parametrize(
    ("likelihoods", "acc", "acc_norm"),
    [
        ((-4.0, -5.0), 1.0, 0.0),  # -1 a byte against -0.5
        ((-4.0, -20.0), 1.0, 1.0),
        ((-8.0, -5.0), 0.0, 0.0),
        ((-4.0, -10.0), 1.0, 0.0),  # equal per byte: a tie is not above
        ((-4.0, -4.0), 0.0, 0.0),
        ((-math.inf, -4.0), 0.0, 0.0),
    ],
)
def test_scores_of_a_pair(likelihoods: tuple[float, ...], acc: float, acc_norm: float) -> None:
    assert score_pair(DOCUMENT, results(*likelihoods)) == {"acc": acc, "acc_norm": acc_norm}


def test_lengths_count_bytes() -> None:
    doc = {"question": "q", "choices": ["été", "abc"]}  # five bytes and three
    assert score_pair(doc, results(-4.0, -3.0)) == {"acc": 0.0, "acc_norm": 1.0}


@given(st.floats(-500, -1), st.floats(-500, -1))
def test_exchanging_the_answers_exchanges_the_verdict(first: float, second: float) -> None:
    exchanged = {**DOCUMENT, "choices": DOCUMENT["choices"][::-1]}
    here = score_pair(DOCUMENT, results(first, second))
    there = score_pair(exchanged, results(second, first))
    assert here["acc"] + there["acc"] == (first != second)
    assert here["acc_norm"] + there["acc_norm"] == (first / 4 != second / 10)


@pytest.mark.parametrize("bad", [(math.nan, -1.0), (-math.inf, -math.inf)])
def test_scores_that_do_not_exist_are_an_error(bad: tuple[float, float]) -> None:
    with pytest.raises(TaskError, match="the answers to 'q' have the log-likelihoods"):
        score_pair(DOCUMENT, results(*bad))


def test_scores_of_an_answer() -> None:
    assert score_answer({}, [" yes yes no "]) == {
        "distinct_1": pytest.approx(2 / 3),
        "distinct_2": 1.0,
        "distinct_3": 1.0,
    }


def test_documents_are_found_by_their_prompt() -> None:
    docs: list[dict[str, Any]] = load(version=1.0)["test"].to_list()
    assert len(docs) == len(pairs())
    for doc, pair in zip(docs, pairs(), strict=True):
        assert doc["question"] == pair["prompt"]
        assert doc["choices"] == [pair["chosen"], pair["rejected"]]
