"""What a loaded task asks, about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from steereval.harness.config.grid import TaskSpec
from steereval.harness.planning.task_resources import configured
from steereval.harness.planning.task_size import CHARACTERS, LOOKED_AT, task_size
from steereval.tasks.catalogue.cards import TaskSize


def test_choices_are_counted_and_measured() -> None:
    task = configured(TaskSpec("truthful_mini_mc"), None)
    size = task_size(task, 50)
    docs = list(task.eval_docs)[:LOOKED_AT]
    choices = [task.doc_to_choice(doc) for doc in docs]
    letters = [len(f" {choice}") for document_choices in choices for choice in document_choices]
    assert size.documents == 50
    assert size.answers == pytest.approx(sum(map(len, choices)) / len(docs), abs=0.5)
    assert size.answer_tokens == pytest.approx(sum(letters) / len(letters) / CHARACTERS, abs=1.5)
    assert size.prompt_tokens > 5
    assert size.generated == 0


def test_what_is_written_is_as_long_as_it_may_be() -> None:
    size = task_size(configured(TaskSpec("truthful_mini_gen"), None), 9)
    assert size.generated > 0
    assert size.answers == 0
    longer = configured(TaskSpec("truthful_mini_gen", generation={"max_gen_toks": 77}), None)
    assert task_size(longer, 9).generated == 77


OWN = {"task": "own", "test_split": "test"}
PROMPTS = OWN | {  # as Winogrande: several prompts for one answer
    "output_type": "multiple_choice",
    "doc_to_text": lambda doc: 1,
    "doc_to_choice": lambda doc: [doc["a"], doc["b"]],
    "doc_to_target": lambda doc: doc["rest"],
}
TEXTS = OWN | {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{rest}}",
}


@pytest.mark.parametrize(
    ("config", "expected"), [(PROMPTS, TaskSize(3, 2, 2, 11)), (TEXTS, TaskSize(3, 10, 1, 10))]
)
def test_tasks_of_other_kinds(config: dict[str, Any], expected: TaskSize) -> None:
    docs = Dataset.from_list([{"a": "one two", "b": "three", "rest": "x" * 40}] * 3)
    with_documents = config | {"custom_dataset": lambda **_: {"test": docs}}
    assert task_size(ConfigurableTask(config=with_documents), 3) == expected


def test_a_task_without_documents_is_left_to_the_run() -> None:
    assert task_size(SimpleNamespace(eval_docs=[], OUTPUT_TYPE="multiple_choice"), 0) == TaskSize(
        0, 1, 1, 1
    )
