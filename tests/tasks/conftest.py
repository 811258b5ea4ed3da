"""Small data of the forms that the tasks read, and a stand-in for the classifier's process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steereval.tasks.benchmarks.realtoxicity_mini.documents import CATEGORIES
from steereval.tasks.benchmarks.truthful_mini import documents
from steereval.tasks.contrast import registry
from steereval.tasks.data import hub
from steereval.tasks.scorers import profanity, profanity_process

REPOSITORY = Path(__file__).parents[2]
REAL_TRUTHFULQA = REPOSITORY.parent / "shared" / "data" / "truthfulqa"

QUESTIONS = [
    {
        "question": f"What do people wrongly say of {thing}?",
        "category": category,
        "best_answer": f"Nothing is wrong with {thing}.",
        "correct_answers": [
            f"Nothing is wrong with {thing}.",
            f"Some say that {thing} is odd, but it is not.",
        ],
        "incorrect_answers": [f"The {thing} is made of cheese.", f"All {thing} is false."],
        "source": "invented for this test",
    }
    for thing, category in [
        ("moon", "astronomy"),
        ("sun", "astronomy"),
        ("bread", "food"),
        ("rain", "weather"),
        ("glass", "physics"),
    ]
]

FAKE_CLASSIFIER = """
import json, sys
print(json.dumps({"ready": "fake"}), flush=True)
for line in sys.stdin:
    texts = json.loads(line)["texts"]
    print(len(texts), *texts, file=sys.stderr, flush=True)
    if "die" in texts:
        sys.exit(3)
    answer = [0.75 if "idiot" in text else 0.25 for text in texts]
    print(json.dumps({"probabilities": answer}), flush=True)
"""


@pytest.fixture
def real_truthfulqa() -> Path:
    """The folder with the real TruthfulQA files, where there is one."""
    if not REAL_TRUTHFULQA.is_dir():
        pytest.skip(f"the real TruthfulQA files are not in {REAL_TRUTHFULQA}")
    return REAL_TRUTHFULQA


@pytest.fixture
def write_lines() -> Callable[[Path, list[Any]], Path]:
    """Writes rows as JSON lines into a file, and returns its path."""
    return _write_lines


def _write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Five questions in place of the bundled set."""
    path = _write_lines(tmp_path / "questions.jsonl", QUESTIONS)
    monkeypatch.setattr(documents, "QUESTIONS", path)
    return QUESTIONS


@pytest.fixture
def comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs of comments in place of the bundled ones."""
    rows = [
        {
            "id": f"t{pair}{'ab'[toxic]}",
            "comment_text": f"{['I disagree', 'You clown'][toxic]} on topic {pair}.",
            "toxic": toxic,
            "pair": pair,
            "topic": f"topic {pair}",
        }
        for pair in range(3)
        for toxic in (0, 1)
    ]
    monkeypatch.setattr(registry, "COMMENTS", _write_lines(tmp_path / "comments.jsonl", rows))


TRUTHFULQA = [
    # question, category (None: not in the table), correct and incorrect answers, best first
    ("Is water wet?", "Physics", ["Yes.", "It is."], ["No.", "Never.", "Only in rain."]),
    ("Who’s there?", "Jokes", ["Nobody."], ["Santa Claus."]),
    ("What time is it?", None, ["I have no comment.", "Unknown."], ["Noon."]),
]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with a truthfulqa/ of three questions, one of which the table lacks."""
    folder = tmp_path / "data" / "truthfulqa"
    folder.mkdir(parents=True)
    rows = [
        {
            "question": question,
            "mc1_targets": dict.fromkeys(false, 0) | {true[0]: 1},
            "mc2_targets": dict.fromkeys(reversed(true), 1) | dict.fromkeys(false, 0),
        }
        for question, _, true, false in TRUTHFULQA
    ]
    (folder / "mc_task.json").write_text(json.dumps(rows), encoding="utf-8")
    with (folder / "TruthfulQA.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"]
        )
        for question, category, true, false in TRUTHFULQA:
            if category:
                plain = question.replace("’", "'").upper()  # another spelling of the question
                writer.writerow(
                    ["Adversarial", category, plain, true[0], "; ".join(true), "; ".join(false)]
                )
    return folder.parent


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a network and with an empty hub cache."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.delenv("STEEREVAL_DATA", raising=False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of this project."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("STEEREVAL_CACHE", str(folder))
    return folder


@pytest.fixture
def prompts(cache: Path) -> Path:
    """Files of prompts in the cache, with duplicates within and between them and a header line."""
    folder = cache / "realtoxicity_mini"
    folder.mkdir(parents=True)
    for number, category in enumerate(CATEGORIES):
        texts = [f"{category} prompt {index}" for index in range(6)]
        lines = ["prompt", "in all files", *texts, texts[0], f" shared by two {number // 2} "]
        (folder / f"rtp_{category}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def fake_classifier(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[profanity.ProfanityClassifier]:
    """A classifier whose process finds 0.75 in a text with "idiot", else 0.25; "die" ends it."""
    script = tmp_path / "fake_process.py"
    script.write_text(FAKE_CLASSIFIER, encoding="utf-8")
    monkeypatch.setattr(profanity_process, "__file__", str(script))
    folder = cache / "profanity_classifier"
    folder.mkdir(parents=True)
    for name in profanity_process.SHA256:
        (folder / name).touch()
    classifier = profanity.bundled_classifier("realtoxicity_mini")
    yield classifier
    classifier.close()
