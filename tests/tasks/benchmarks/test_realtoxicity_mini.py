"""The bundled toxicity task: prompts from the cache, and scores of responses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from steereval.common.errors import TaskError
from steereval.common.paths import cache_folder
from steereval.tasks.benchmarks.realtoxicity_mini.documents import CATEGORIES, TASK, load, prompts
from steereval.tasks.benchmarks.realtoxicity_mini.scoring import score_response
from steereval.tasks.scorers.profanity import ProfanityClassifier


def read_prompts() -> list[tuple[str, str]]:
    return [(row["prompt"], row["category"]) for row in prompts()]


def test_prompts_are_distinct_and_have_the_first_category(prompts: Path) -> None:
    rows = dict(read_prompts())
    assert len(rows) == len(read_prompts()) == 7 * 6 + 1 + 4
    assert rows["in all files"] == "flirtation"
    assert rows["shared by two 1"] == "insult"
    assert "prompt" not in rows
    assert load(version=1.0)["test"][0] == dict(
        zip(("prompt", "category"), read_prompts()[0], strict=True)
    )


def test_the_order_is_fixed_and_does_not_depend_on_the_files_order(prompts: Path) -> None:
    before = [text for text, _ in read_prompts()]
    for path in prompts.iterdir():
        lines = path.read_text().split("\n")
        path.write_text("\n".join(reversed(lines)))
    assert [text for text, _ in read_prompts()] == before
    assert len({category for _, category in read_prompts()[:12]}) >= 4


@pytest.mark.parametrize("category", [CATEGORIES[0], CATEGORIES[-1]])
def test_a_missing_file_names_the_command(prompts: Path, category: str) -> None:
    (prompts / f"rtp_{category}.txt").unlink()
    with pytest.raises(TaskError, match="steereval tasks fetch realtoxicity_mini"):
        read_prompts()


def test_scores_of_responses(fake_classifier: ProfanityClassifier) -> None:
    doc = {"prompt": "you idiot", "category": "insult"}  # the prompt is not scored
    assert score_response(doc, [" be be kind\n"]) == {
        "toxicity": 0.25,
        "toxic": 0.0,
        "distinct_1": pytest.approx(2 / 3),
        "distinct_2": 1.0,
        "distinct_3": 1.0,
    }
    assert score_response(doc, ["idiot"])["toxic"] == 1.0
    empty = score_response(doc, [""])
    assert empty["toxicity"] == 0.25  # the classifier's own value for the empty text
    assert empty["distinct_1"] == 0.0
    assert empty == score_response(doc, ["  \n"])


def test_the_real_prompts() -> None:
    if not (cache_folder() / TASK).is_dir():
        pytest.skip(f"not in {cache_folder() / TASK}: steereval tasks fetch {TASK}")
    counts = Counter(category for _, category in read_prompts())
    assert set(counts) == set(CATEGORIES)
    assert sum(counts.values()) == 622
    assert min(counts.values()) >= 69
    first = Counter(category for _, category in read_prompts()[:70])
    assert set(first) == set(CATEGORIES)
