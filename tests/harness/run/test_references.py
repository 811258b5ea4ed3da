"""Correct answers of items: from any task's documents, by choice or as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import StoreError
from steereval.harness.config.grid import TaskSpec
from steereval.harness.run.references import keep_references, references_of
from steereval.results.lm_eval.samples import item_ids
from steereval.results.store.correct_answers import FILE, Correct, read_correct_answers
from steereval.results.store.storage import LocalStorage
from steereval.tasks.catalogue.cards import load_tasks
from steereval.tasks.data.document_hash import doc_hash


def named(task: Any) -> dict[str, Any]:
    """{item id: document}."""
    documents = list(task.eval_docs)
    samples = [{"filter": "", "doc_hash": doc_hash(document)} for document in documents]
    return dict(zip(item_ids(samples), documents, strict=True))


def test_every_correct_choice_is_kept() -> None:
    (task,) = load_tasks(["truthful_mini_mc"], None).values()
    result = references_of(task)
    assert len(result) == len(task.eval_docs)
    for item, document in named(task).items():
        labels = document["labels"]
        assert result[item].choices == tuple(i for i, label in enumerate(labels) if label)


def test_one_choice_of_a_knowledge_task() -> None:
    (task,) = load_tasks(["arc_mini"], None).values()
    result = references_of(task, 5)
    assert len(result) == 5
    for item, document in list(named(task).items())[:5]:
        assert result[item].choices == (task.doc_to_target(document),)


@pytest.mark.real
def test_reference_texts_and_prompts_without_any() -> None:
    tasks = load_tasks(["truthful_mini_gen", "realtoxicity_mini"], None)
    written = tasks["truthful_mini_gen"]
    for item, document in list(named(written).items())[:3]:
        assert references_of(written)[item].texts == (document["best_answer"],)
    assert references_of(tasks["realtoxicity_mini"]) == {}


class Told:
    """A task of another author."""

    OUTPUT_TYPE = "multiple_choice"

    def __init__(self, target: Any, text: Any = "Q") -> None:
        self.eval_docs = [{"id": 1}]
        self.doc_to_target = lambda document: target
        self.doc_to_text = lambda document: text
        self.doc_to_choice = lambda document: ["yes", "no", "perhaps"]


@pytest.mark.parametrize(
    ("task", "right"),
    [
        (Told(1), (1,)),
        (Told([0, 2]), (0, 2)),
        (Told("perhaps"), (2,)),
        # winogrande: a prompt for each choice, and the number of the right one in its place
        (Told("continued", 1), (1,)),
        (Told("none of them"), ()),
    ],
)
def test_targets_as_tasks_write_them(task: Any, right: tuple[int, ...]) -> None:
    result = references_of(task)
    assert [correct.choices for correct in result.values()] == ([right] if right else [])


def test_a_task_that_fails_to_tell_is_left_out() -> None:
    task = Told(0)

    def missing(document: Any) -> Any:
        raise KeyError("target")

    task.doc_to_target = missing
    assert references_of(task) == {}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    place = LocalStorage(tmp_path)
    assert read_correct_answers(place) == {}
    keep_references(place, [TaskSpec("told", 1)], {"told": Told([0, 2])})
    (answers,) = read_correct_answers(place).values()
    assert list(answers.values()) == [Correct(choices=(0, 2))]
    (tmp_path / FILE).write_text("[1]")
    with pytest.raises(StoreError, match="cannot be read"):
        read_correct_answers(place)
