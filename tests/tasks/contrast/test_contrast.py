"""The named contrast sets."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import ContrastError, UnknownNameError
from steereval.tasks.benchmarks.ultrafeedback_mini import documents as preferences
from steereval.tasks.contrast.registry import CONTRAST_NAMES, Statement, load_contrast, question_key
from steereval.tasks.data import hub, truthfulqa


def test_truthful_mini(questions: list[dict[str, Any]]) -> None:
    contrast = load_contrast("truthful-mini")
    assert contrast.n_folds == 2
    assert len(contrast.statements) == 20
    first = contrast.statements[:4]
    key = question_key(questions[0]["question"])
    assert {s.key for s in first} == {key}
    assert {s.group for s in first} == {"astronomy"}
    assert [(s.positive, s.pair) for s in first] == [(True, 0), (False, 0), (True, 1), (False, 1)]
    assert first[0].answer == questions[0]["best_answer"]
    assert contrast.card()["n_pairs"] == 10


def test_truthful_mini_best(questions: list[dict[str, Any]]) -> None:
    contrast = load_contrast("truthful-mini", answers="best")
    assert [s.answer for s in contrast.statements[:2]] == [
        questions[0]["best_answer"],
        questions[0]["incorrect_answers"][0],
    ]
    assert len(contrast.statements) == 10
    assert "first of each class" in contrast.label_rule


def test_preference_mini() -> None:
    contrast = load_contrast("preference-mini")
    pairs = preferences.pairs()
    first = pairs[0]
    assert contrast.n_folds == 2
    prompt, key, group = first["prompt"], contrast.keys[0], first["category"]
    assert contrast.statements[:2] == (
        Statement(prompt, first["chosen"], True, key, group, 0),
        Statement(prompt, first["rejected"], False, key, group, 0),
    )
    assert contrast.keys == tuple(question_key(pair["prompt"]) for pair in pairs)
    card = contrast.card()
    assert (card["n_pairs"], card["n_keys"]) == (len(pairs), len(pairs))
    assert card["warnings"] == []


def test_toxicity(comments: None) -> None:
    contrast = load_contrast("toxicity")
    assert (contrast.n_folds, len(contrast.keys)) == (1, 3)
    assert contrast.statements[0] == Statement(
        None, "I disagree on topic 0.", True, contrast.keys[0], "topic 0", 0
    )
    assert [s.positive for s in contrast.statements] == [True, False] * 3
    assert contrast.card()["n_pairs"] == 3


@pytest.mark.parametrize("inner", ["", "truthfulqa"])
def test_truthfulqa_from_a_folder(data_dir: Path, inner: str) -> None:
    contrast = load_contrast("truthfulqa", data_dir=data_dir / inner)
    assert [(s.answer, s.positive, s.pair, s.group) for s in contrast.statements] == [
        ("Yes.", True, 0, "Physics"),
        ("No.", False, 0, "Physics"),
        ("It is.", True, 1, "Physics"),
        ("Never.", False, 1, "Physics"),
        ("Only in rain.", False, None, "Physics"),
        ("Nobody.", True, 2, "Jokes"),
        ("Santa Claus.", False, 2, "Jokes"),
        ("I have no comment.", True, 3, None),
        ("Noon.", False, 3, None),
        ("Unknown.", True, None, None),
    ]
    assert contrast.card()["n_keys_without_group"] == 1
    assert contrast.version == "mc-3"


def test_truthfulqa_from_the_environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEEREVAL_DATA", str(data_dir))
    contrast = load_contrast("truthfulqa", answers="best")
    assert [s.answer for s in contrast.statements[:2]] == ["Yes.", "No."]


def test_truthfulqa_from_the_hub(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub gives is turned into the same set as the folder's files."""
    import datasets

    rows = {
        "multiple_choice": truthfulqa.multiple_choice_rows(data_dir),
        "generation": truthfulqa.generation_rows(data_dir),
    }

    def from_hub(path: str, configuration: str) -> Any:
        assert path == "truthfulqa/truthful_qa"
        return {"validation": datasets.Dataset.from_list(rows[configuration])}

    monkeypatch.delenv("STEEREVAL_DATA", raising=False)
    monkeypatch.setattr(hub, "hub_in_reach", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", from_hub)
    assert load_contrast("truthfulqa") == load_contrast("truthfulqa", data_dir=data_dir)


def test_truthfulqa_out_of_reach(no_hub: None, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ContrastError, match="--data-dir or STEEREVAL_DATA"):
        load_contrast("truthfulqa")
    with pytest.raises(ContrastError, match=f"{tmp_path} holds no TruthfulQA files"):
        load_contrast("truthfulqa", data_dir=tmp_path)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mc_task.json", "{"),
        ("mc_task.json", '[{"question": "q"}]'),
        ("mc_task.json", "[3]"),
        ("TruthfulQA.csv", "Question,Category\nq,c\n"),
        ("TruthfulQA.csv", ""),
    ],
)
def test_damaged_truthfulqa_files(data_dir: Path, name: str, content: str) -> None:
    (data_dir / "truthfulqa" / name).write_text(content)
    with pytest.raises(ContrastError, match=f"{name} is not the TruthfulQA file"):
        load_contrast("truthfulqa", data_dir=data_dir)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'truthful-mini'"):
        load_contrast("truthful_mini")
    with pytest.raises(UnknownNameError, match="Known: jigsaw, preference-mini, toxicity, "):
        load_contrast("zzz")
    with pytest.raises(ContrastError, match="'all' or 'best'"):
        load_contrast(CONTRAST_NAMES[0], answers="some")  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_real_truthfulqa(real_truthfulqa: Path) -> None:
    contrast = load_contrast("truthfulqa", data_dir=real_truthfulqa)
    rows = json.loads((real_truthfulqa / "mc_task.json").read_text(encoding="utf-8"))
    expected = {
        (row["question"], a, bool(l)) for row in rows for a, l in row["mc2_targets"].items()
    }
    assert {(s.question, s.answer, s.positive) for s in contrast.statements} == expected
    card = contrast.card()
    assert (card["n_keys"], card["n_groups"], card["n_keys_without_group"]) == (817, 37, 29)
    assert abs(len(contrast.training(0).keys) - len(contrast.training(1).keys)) == 1
    best = load_contrast("truthfulqa", data_dir=real_truthfulqa, answers="best").statements
    assert [s.answer for s in best if s.positive] == [
        answer for row in rows for answer, label in row["mc1_targets"].items() if label == 1
    ]
