"""The classifier's process: what is refused before loading, how it dies, what it remembers."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steereval.common.errors import TaskError
from steereval.common.paths import cache_folder
from steereval.tasks.scorers import profanity, profanity_process
from steereval.tasks.scorers.profanity import ProfanityClassifier, bundled_classifier

FILES = tuple(profanity_process.SHA256)


class TouchWhenLoaded:
    """A pickle that shows, by making a file, that it was loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.trace), "w")


def test_a_changed_file_is_refused_before_loading(tmp_path: Path) -> None:
    trace = tmp_path / "loaded"
    for name in FILES:
        (tmp_path / name).write_bytes(pickle.dumps(TouchWhenLoaded(trace)))
    classifier = ProfanityClassifier(tmp_path)
    with pytest.raises(TaskError, match=r"model.joblib is not the file .*so it is not loaded"):
        classifier.probabilities(["hello"])
    assert not trace.exists()
    profanity_process.unpickle((tmp_path / FILES[0]).read_bytes())
    assert trace.exists()  # so the pickle would have shown it


@pytest.mark.parametrize("changed", FILES)
def test_both_files_are_checked(
    tmp_path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    for name in FILES:
        (tmp_path / name).write_bytes(name.encode())
        monkeypatch.setitem(
            profanity_process.SHA256, name, hashlib.sha256(name.encode()).hexdigest()
        )
        assert profanity_process.verified_bytes(tmp_path / name) == name.encode()
    (tmp_path / changed).write_bytes(b"other")
    monkeypatch.setattr(profanity_process, "unpickle", lambda content: pytest.fail("loaded"))
    with pytest.raises(profanity_process.RefusedError, match=changed):
        profanity_process.load_classifier(tmp_path)


class Vectorizer:
    def transform(self, texts: list[str]) -> list[str]:
        return texts


class Model:
    """Gives the reference probabilities, off by `error`."""

    def __init__(self, error: float) -> None:
        self.error = error

    def predict_proba(self, texts: list[str]) -> Any:
        known = dict(profanity_process.REFERENCE)
        return np.array([[0.0, known[text] + self.error] for text in texts])


def load_with(model: object, monkeypatch: pytest.MonkeyPatch) -> profanity_process.Predict:
    parts = {b"model.joblib": model, b"vectorizer.joblib": Vectorizer()}
    monkeypatch.setattr(profanity_process, "verified_bytes", lambda path: path.name.encode())
    monkeypatch.setattr(profanity_process, "unpickle", parts.__getitem__)
    return profanity_process.load_classifier(Path())


def test_a_version_that_predicts_the_same_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    text, probability = profanity_process.REFERENCE[-1]
    assert load_with(Model(1e-8), monkeypatch)([text]) == pytest.approx([probability])


@pytest.mark.parametrize("error", [1e-5, float("nan")])
def test_a_version_that_predicts_otherwise_is_refused(
    error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(profanity_process.RefusedError, match=r"gives '' .* instead of 0.036376"):
        load_with(Model(error), monkeypatch)


def test_a_version_that_cannot_load_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(profanity_process.RefusedError, match="cannot load it") as caught:
        load_with(object(), monkeypatch)
    assert "1.9.1" in caught.value.args[1]


def test_serving_answers_line_by_line() -> None:
    requests = io.StringIO('{"texts": ["a", "b"]}\n{"texts": []}\n')
    answers = io.StringIO()
    profanity_process.serve(lambda texts: [0.5] * len(texts), requests, answers)
    assert [json.loads(line)["probabilities"] for line in answers.getvalue().splitlines()] == [
        [0.5, 0.5],
        [],
    ]


def requests_to(classifier: ProfanityClassifier) -> list[str]:
    """What the fake process wrote down about each request."""
    classifier._errors.seek(0)
    lines: list[str] = classifier._errors.read().decode().splitlines()
    return lines


def test_texts_are_asked_once_and_in_one_batch(fake_classifier: ProfanityClassifier) -> None:
    assert fake_classifier.probabilities(["idiot", "hi", "idiot"]) == [0.75, 0.25, 0.75]
    assert fake_classifier.probabilities(["hi", "ho"]) == [0.25, 0.25]
    assert fake_classifier.probabilities([]) == []
    assert requests_to(fake_classifier) == ["2 idiot hi", "1 ho"]


def test_the_memory_is_bounded(
    fake_classifier: ProfanityClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profanity, "CACHE_SIZE", 2)
    for texts in (["a", "b", "c"], ["a"], ["a"]):
        fake_classifier.probabilities(texts)
    assert requests_to(fake_classifier) == ["3 a b c", "1 a"]


def test_a_process_that_dies_is_an_error_and_the_next_text_starts_another(
    fake_classifier: ProfanityClassifier,
) -> None:
    assert fake_classifier.probabilities(["hi"]) == [0.25]
    with pytest.raises(TaskError, match="ended with status 3: 1 die"):
        fake_classifier.probabilities(["die"])
    assert fake_classifier.probabilities(["idiot"]) == [0.75]
    process = fake_classifier._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(TaskError, match="ended with status -9"):
        fake_classifier.probabilities(["new"])


def test_closing_ends_the_process(fake_classifier: ProfanityClassifier) -> None:
    fake_classifier.probabilities(["hi"])
    process = fake_classifier._process
    assert process is not None
    fake_classifier.close()
    fake_classifier.close()
    assert process.returncode is not None


def test_one_classifier_per_process(
    fake_classifier: ProfanityClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundled_classifier("realtoxicity_mini") is fake_classifier
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert bundled_classifier("realtoxicity_mini") is not fake_classifier


def test_a_missing_classifier_names_the_command(cache: Path) -> None:
    with pytest.raises(TaskError, match="steereval tasks fetch realtoxicity_mini"):
        bundled_classifier("realtoxicity_mini")


def test_toxicity_scores(fake_classifier: ProfanityClassifier) -> None:
    scores = profanity.toxicity_scores("you idiot", "realtoxicity_mini")
    assert scores == {"toxicity": 0.75, "toxic": 1.0}
    assert profanity.toxicity_scores("you", "realtoxicity_mini")["toxic"] == 0.0


@pytest.mark.slow
def test_the_real_classifier() -> None:
    folder = cache_folder() / profanity.ASSET
    if not folder.is_dir():
        pytest.skip(f"not in {folder}: steereval tasks fetch realtoxicity_mini")
    classifier = ProfanityClassifier(folder)
    texts = [text for text, _ in profanity_process.REFERENCE]
    result = classifier.probabilities(texts)
    classifier.close()
    assert result == pytest.approx([p for _, p in profanity_process.REFERENCE], abs=1e-6)
