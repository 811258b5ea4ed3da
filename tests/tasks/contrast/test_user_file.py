"""A user's own contrast file: both forms, and every way in which it can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import ContrastError
from steereval.tasks.contrast.registry import load_contrast
from steereval.tasks.data.keys import question_key

Writer = Callable[[Path, list[Any]], Path]


def test_pairs(tmp_path: Path, write_lines: Writer) -> None:
    path = write_lines(
        tmp_path / "mine.jsonl",
        [
            {"question": "Q?", "positive": "good", "negative": "bad", "group": "g"},
            {"question": "q?", "positive": "fine", "negative": "awful"},
            {"positive": "kind", "negative": "rude"},
        ],
    )
    contrast = load_contrast(str(path))
    assert (contrast.name, contrast.n_folds) == ("mine", 1)
    assert contrast.version == contrast.content_hash[:12]
    assert [s.answer for s in contrast.statements if s.positive] == ["good", "fine", "kind"]
    assert [s.pair for s in contrast.statements] == [1, 1, 2, 2, 3, 3]
    assert contrast.keys[0] == question_key("Q?")
    assert len(contrast.keys) == 2
    assert [s.group for s in contrast.statements] == ["g", "g", None, None, None, None]


def test_statements_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '\ufeff{"answer": "a\u2028b", "label": 1}\n\n{"answer": "c", "label": false}\n'
        '{"question": "q", "answer": "c", "label": true}\n',
        encoding="utf-8",
    )
    contrast = load_contrast(str(path))
    assert [(s.answer, s.positive) for s in contrast.statements] == [
        ("a\u2028b", True),
        ("c", False),
        ("c", True),  # to another question, so no contradiction
    ]
    assert len(contrast.keys) == 3
    assert all(s.pair is None for s in contrast.statements)


def test_the_best_of_each_key(tmp_path: Path, write_lines: Writer) -> None:
    rows = [{"question": "q", "positive": f"p{i}", "negative": f"n{i}"} for i in range(3)]
    path = write_lines(tmp_path / "mine.jsonl", rows)
    contrast = load_contrast(str(path), answers="best")
    assert [s.answer for s in contrast.statements] == ["p0", "n0"]
    assert contrast.content_hash != load_contrast(str(path)).content_hash


GOOD = '{"answer": "a", "label": 1}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty. Each line is"),
        ("\n \n", "is empty"),
        (GOOD + "{", "line 2 of contrast file .*: it is not JSON.*column 2"),
        (GOOD + '["a"]', "line 2 .* a JSON object is expected, not '\\[\"a\"\\]'"),
        (
            GOOD + '{"answer": "a", "lable": 1}',
            "line 2 .* unknown key 'lable'. Did you mean 'label'",
        ),
        ('{"positive": "a", "answer": "b", "negative": "c"}', "line 1 .* unknown key 'answer'"),
        ('{"positive": "a"}', "the key 'negative' is missing"),
        ('{"answer": "a"}', "the key 'label' is missing"),
        ("{}", "the key 'answer' is missing"),
        ('{"positive": "a", "negative": 3}', "'negative' must be a text that is not blank, not 3"),
        ('{"positive": " ", "negative": "b"}', "'positive' must be a text"),
        ('{"answer": "a", "label": 1, "question": 5}', "'question' must be a text"),
        ('{"answer": "a", "label": 1, "group": []}', "'group' must be a text"),
        ('{"answer": "a", "label": 2}', "'label' must be 1, 0, true or false, not 2"),
        ('{"answer": "a", "label": "1"}', "'label' must be 1, 0, true or false, not '1'"),
        ('{"answer": "a", "label": 1.0}', "'label' must be"),
        ('{"answer": "a", "label": [1]}', "'label' must be"),
        (GOOD, "all 1 statements .* are positive. Add some of the other class"),
        (GOOD + '{"answer": " A ", "label": 0}', "line 2 .* in both classes \\(see line 1\\)"),
        ('{"positive": "same", "negative": "same"}', "line 1 .* in both classes"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContrastError, match=message) as caught:
        load_contrast(str(path))
    assert "bad.jsonl" in str(caught.value)
    assert caught.value.remedy


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ContrastError, match=r"none.jsonl cannot be read: No such file"):
        load_contrast(str(tmp_path / "none.jsonl"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ContrastError, match="Is a directory"):
        load_contrast(str(tmp_path / "folder.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes('{"answer": "ä"}'.encode("latin-1"))
    with pytest.raises(ContrastError, match="not UTF-8 text"):
        load_contrast(str(tmp_path / "latin.jsonl"))
    (tmp_path / "pairs.json").write_text("{}")
    with pytest.raises(ContrastError, match=r"does not end in .jsonl"):
        load_contrast(str(tmp_path / "pairs.json"))
