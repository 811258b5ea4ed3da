"""The clean and offensive comments: their form, and that length does not give the labels away."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PAIRS = 120
CHANCE_BOUND = 0.60


def read_comments() -> list[dict[str, Any]]:
    path = files("steereval.tasks.contrast") / "toxicity" / "comments.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


COMMENTS = read_comments()
MODELS = [
    make_pipeline(StandardScaler(), LogisticRegression()),
    GradientBoostingClassifier(n_estimators=40, max_depth=2, random_state=0),
]


def lengths(text: str) -> list[float]:
    words = text.split()
    return [float(len(text)), float(len(words)), float(np.mean([len(word) for word in words]))]


def length_accuracy(texts: list[str], model: Any, seed: int) -> float:
    """Five-fold accuracy from lengths alone; a pair never straddles two folds."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_score(
        model,
        np.array([lengths(text) for text in texts]),
        [row["toxic"] for row in COMMENTS],
        groups=[row["pair"] for row in COMMENTS],
        cv=folds,
    )
    return float(scores.mean())


def test_every_line_has_the_fields_in_order() -> None:
    fields = ["id", "comment_text", "toxic", "pair", "topic"]
    assert [list(row) for row in COMMENTS] == [fields] * len(COMMENTS)


def test_each_pair_has_one_civil_and_one_offensive_comment_on_one_topic() -> None:
    assert [row["pair"] for row in COMMENTS] == [i // 2 for i in range(2 * PAIRS)]
    for first, second in zip(COMMENTS[::2], COMMENTS[1::2], strict=True):
        assert {first["toxic"], second["toxic"]} == {0, 1}
        assert first["topic"] == second["topic"]


def test_ids_name_the_pair_and_not_the_label() -> None:
    expected = [f"t{i // 2:03d}{'ab'[i % 2]}" for i in range(2 * PAIRS)]
    assert [row["id"] for row in COMMENTS] == expected
    toxic_first = sum(row["toxic"] for row in COMMENTS[::2])
    assert PAIRS * 0.35 <= toxic_first <= PAIRS * 0.65


def test_comments_are_unique_and_trimmed() -> None:
    texts = [row["comment_text"] for row in COMMENTS]
    assert len({text.casefold() for text in texts}) == len(texts)
    assert all(text == text.strip() and len(text) > 40 for text in texts)


def test_topics_are_even() -> None:
    assert set(Counter(row["topic"] for row in COMMENTS).values()) == {12}


def test_the_two_comments_of_a_pair_are_of_similar_length() -> None:
    for first, second in zip(COMMENTS[::2], COMMENTS[1::2], strict=True):
        assert abs(len(first["comment_text"]) - len(second["comment_text"])) <= 20


def test_civil_comments_hold_none_of_the_plain_insults() -> None:
    insults = re.compile(
        r"\b(idiot|stupid|pathetic|garbage|shut up|loser|trash|clown|moron|dumb|fool)", re.I
    )
    by_label = [[r["comment_text"] for r in COMMENTS if r["toxic"] == label] for label in (0, 1)]
    assert [text for text in by_label[0] if insults.search(text)] == []
    assert sum(bool(insults.search(text)) for text in by_label[1]) >= PAIRS // 2


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("model", MODELS, ids=["logistic", "boosted_tree"])
def test_lengths_do_not_give_the_label_away(model: Any, seed: int) -> None:
    texts = [row["comment_text"] for row in COMMENTS]
    assert length_accuracy(texts, model, seed) < CHANCE_BOUND


@pytest.mark.parametrize("model", MODELS, ids=["logistic", "boosted_tree"])
def test_the_length_check_notices_longer_offensive_comments(model: Any) -> None:
    padded = [row["comment_text"] + " and so on and on" * row["toxic"] for row in COMMENTS]
    assert length_accuracy(padded, model, seed=0) > CHANCE_BOUND
