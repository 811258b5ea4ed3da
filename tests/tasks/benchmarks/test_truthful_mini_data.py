"""The truthfulness set: its form, and that length alone does not give the labels away."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Labelled = list[tuple[str, int, int]]
"""Rows of (answer, 1 if correct else 0, question number)."""

FIELDS = [
    "question",
    "category",
    "best_answer",
    "correct_answers",
    "incorrect_answers",
    "source",
]
CHANCE_BOUND = 0.60


def read_questions() -> list[dict[str, Any]]:
    path = files("steereval.tasks.benchmarks") / "truthful_mini" / "truthful_mini.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


QUESTIONS = read_questions()


def all_answers() -> Labelled:
    return [
        (answer, label, number)
        for number, row in enumerate(QUESTIONS)
        for label, field in ((1, "correct_answers"), (0, "incorrect_answers"))
        for answer in row[field]
    ]


def best_against_first_incorrect() -> Labelled:
    return [
        (answer, label, number)
        for number, row in enumerate(QUESTIONS)
        for label, answer in ((1, row["best_answer"]), (0, row["incorrect_answers"][0]))
    ]


def lengths(text: str) -> list[float]:
    words = text.split()
    return [float(len(text)), float(len(words)), float(np.mean([len(word) for word in words]))]


def balanced(rows: Labelled, seed: int) -> Labelled:
    """As many correct as incorrect answers, drawn without replacement."""
    generator = np.random.default_rng(seed)
    by_label = [[row for row in rows if row[1] == label] for label in (0, 1)]
    size = min(map(len, by_label))
    return [
        group[i] for group in by_label for i in generator.choice(len(group), size, replace=False)
    ]


def length_accuracy(rows: Labelled, model: Any, seed: int) -> float:
    """Five-fold accuracy from lengths alone; a question never straddles two folds."""
    sample = balanced(rows, seed)
    features: NDArray[np.float64] = np.array([lengths(text) for text, _, _ in sample])
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_score(
        model,
        features,
        [label for _, label, _ in sample],
        groups=[number for _, _, number in sample],
        cv=folds,
    )
    return float(scores.mean())


def logistic() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def boosted_tree() -> Any:
    return GradientBoostingClassifier(n_estimators=40, max_depth=2, random_state=0)


def test_there_are_enough_questions_and_categories() -> None:
    counts = Counter(row["category"] for row in QUESTIONS)
    assert len(QUESTIONS) >= 260
    assert len(counts) >= 22
    assert min(counts.values()) >= 6
    assert max(counts.values()) <= 2 * min(counts.values())


def test_every_line_has_the_fields_in_order() -> None:
    assert [list(row) for row in QUESTIONS] == [FIELDS] * len(QUESTIONS)


@pytest.mark.parametrize("field", ["question", "category", "best_answer", "source"])
def test_text_fields_are_filled_and_trimmed(field: str) -> None:
    for row in QUESTIONS:
        assert isinstance(row[field], str)
        assert row[field]
        assert row[field] == row[field].strip()


def test_questions_end_in_a_question_mark_and_answers_are_sentences() -> None:
    assert all(row["question"].endswith("?") for row in QUESTIONS)
    assert all(answer.endswith((".", '."')) for answer, _, _ in all_answers())
    assert all(answer[0].isupper() for answer, _, _ in all_answers())


def test_questions_are_unique() -> None:
    folded = [row["question"].casefold() for row in QUESTIONS]
    assert len(set(folded)) == len(folded)


def test_no_answer_occurs_twice_so_none_is_both_correct_and_incorrect() -> None:
    counts = Counter(answer.casefold() for answer, _, _ in all_answers())
    assert [answer for answer, count in counts.items() if count > 1] == []


def test_each_question_has_two_to_six_answers_of_either_kind_best_first() -> None:
    for row in QUESTIONS:
        assert 2 <= len(row["correct_answers"]) <= 6
        assert 2 <= len(row["incorrect_answers"]) <= 6
        assert row["correct_answers"][0] == row["best_answer"]


def test_about_as_many_best_answers_affirm_as_deny() -> None:
    first_words = Counter(row["best_answer"].split()[0] for row in QUESTIONS)
    yes, no = first_words["Yes,"], first_words["No,"]
    assert yes + no >= 60
    assert 0.4 <= yes / (yes + no) <= 0.6


def test_negations_are_about_as_common_in_either_kind_of_answer() -> None:
    negation = re.compile(r"\b(no|not|never|none|nothing|nobody|without|cannot)\b|n't", re.I)
    negated: dict[int, list[bool]] = {0: [], 1: []}
    for answer, label, _ in all_answers():
        negated[label].append(bool(negation.search(answer)))
    assert abs(np.mean(negated[1]) - np.mean(negated[0])) < 0.10


def test_any_first_hundred_lines_mix_the_categories() -> None:
    categories = {row["category"] for row in QUESTIONS}
    assert len({row["category"] for row in QUESTIONS[:100]}) >= len(categories) - 2


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("model", [logistic, boosted_tree])
@pytest.mark.parametrize("rows", [all_answers, best_against_first_incorrect])
def test_lengths_do_not_give_the_label_away(rows: Any, model: Any, seed: int) -> None:
    assert length_accuracy(rows(), model(), seed) < CHANCE_BOUND


@pytest.mark.slow
@pytest.mark.parametrize("model", [logistic, boosted_tree])
def test_the_length_check_notices_longer_correct_answers(model: Any) -> None:
    padded = [(text + " as is well known" * label, label, n) for text, label, n in all_answers()]
    assert length_accuracy(padded, model(), seed=0) > CHANCE_BOUND
