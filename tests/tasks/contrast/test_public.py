"""Contrast sets from files of public data as they are distributed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from public_benchmarks import comments, preference, preferences

from steereval.common.errors import ContrastError
from steereval.tasks.benchmarks.ultrafeedback import documents
from steereval.tasks.contrast import public
from steereval.tasks.contrast.registry import Statement, load_contrast, question_key
from steereval.tasks.data.keys import pair_key


def ordered(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


@pytest.fixture
def preferred(tmp_path: Path) -> Path:
    """Six usable pairs, one whose prompt is tested, and four that say nothing."""
    pairs = [preference(f"p{n}", f"good {n}", f" bad {n} ") for n in range(6)]
    useless = [
        preference("same", "x", " x"),
        preference("empty", "", "y"),
        preference(" ", "a", "b"),
    ]
    preferences(tmp_path, "test_prefs", [preference("Tested?", "a", "b")])
    rows = [*pairs, preference("tested?", "a", "b"), *useless, preference("p3", "again", "no")]
    preferences(tmp_path, "train_prefs", rows)
    return tmp_path


def test_ultrafeedback(preferred: Path, no_hub: None) -> None:
    contrast = load_contrast("ultrafeedback", data_dir=preferred)
    prompts = ordered([f"p{n}" for n in range(6)])
    assert list(contrast.keys) == [question_key(prompt) for prompt in prompts]
    number = prompts[0][1]
    assert contrast.statements[:2] == (
        Statement(prompts[0], f"good {number}", True, question_key(prompts[0]), None, 0),
        Statement(prompts[0], f"bad {number}", False, question_key(prompts[0]), None, 0),
    )
    assert (contrast.n_folds, contrast.version, contrast.card()["n_pairs"]) == (1, "pairs-6", 6)


def test_the_first_pairs_are_those_of_a_larger_choice(
    preferred: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_contrast("ultrafeedback", data_dir=preferred)
    monkeypatch.setattr(documents, "PAIRS", 2)
    assert load_contrast("ultrafeedback", data_dir=preferred).statements == whole.statements[:4]


def test_no_answer_to_a_tested_prompt_is_fitted_to(preferred: Path, no_hub: None) -> None:
    contrast = load_contrast("ultrafeedback", data_dir=preferred)
    tested = {question_key(row["question"]) for row in documents.prompts(preferred)}
    assert len(tested) == 1
    assert tested.isdisjoint(contrast.keys)


def test_jigsaw(tmp_path: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "COMMENTS", 3)
    clean = {f"clean {n}": set[str]() for n in range(5)}
    toxic = {f"toxic {n}": {"toxic", "insult"} for n in range(4)}
    comments(tmp_path, {**clean, "rude": {"obscene"}, **toxic, " ": set()})
    contrast = load_contrast("jigsaw", data_dir=tmp_path)
    texts = {sign: [s.answer for s in contrast.statements if s.positive == sign] for sign in (0, 1)}
    assert texts == {0: ordered(list(toxic))[:3], 1: ordered(list(clean))[:3]}
    assert contrast.statements[2] == Statement(
        None, texts[1][1], True, pair_key("jigsaw", "1"), None, 1
    )
    assert contrast.card()["n_pairs"] == 3
    drawn = contrast.subset(0.6, 0)
    assert [s.positive for s in drawn.statements] == [True, False] * 2  # whole pairs


def test_classes_of_different_size(tmp_path: Path, no_hub: None) -> None:
    comments(tmp_path, {"a": set(), "b": set(), "c": {"toxic"}})
    contrast = load_contrast("jigsaw", data_dir=tmp_path)
    assert [s.pair for s in contrast.statements] == [0, 0, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,comment_text\n1,x\n", "is not what it should be: KeyError 'toxic'"),
        ("", "0 clean and 0 toxic"),
    ],
)
def test_damaged_comments(tmp_path: Path, no_hub: None, text: str, message: str) -> None:
    comments(tmp_path, {}).write_text(text, encoding="utf-8")
    with pytest.raises(ContrastError, match=message):
        load_contrast("jigsaw", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["jigsaw", "ultrafeedback"])
def test_missing_data(name: str, tmp_path: Path, no_hub: None) -> None:
    with pytest.raises(ContrastError, match=rf"{name}/.* with --data-dir or STEEREVAL_DATA"):
        load_contrast(name, data_dir=tmp_path)
