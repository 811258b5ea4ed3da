"""The knowledge, science and everyday sets: their form, balance, and lm-eval's own formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from steereval.tasks.benchmarks.arc_mini import documents as arc
from steereval.tasks.benchmarks.commonsense_mini import documents as commonsense
from steereval.tasks.benchmarks.mmlu_mini import documents as mmlu
from steereval.tasks.benchmarks.truthful_mini.documents import questions as truthful_questions
from steereval.tasks.benchmarks.ultrafeedback_mini.documents import pairs
from steereval.tasks.catalogue.cards import card, cluster_of, load_tasks
from steereval.tasks.catalogue.index import task_config
from steereval.tasks.data.bundled import read_rows
from steereval.tasks.data.keys import normalise, question_key

SETS = {
    "mmlu_mini": (mmlu.QUESTIONS, ["question", "subject", "choices", "answer"], 4),
    "arc_mini": (arc.QUESTIONS, ["question", "category", "choices", "answerKey"], 4),
    "commonsense_mini": (
        commonsense.QUESTIONS,
        ["question", "category", "choices", "answerKey"],
        5,
    ),
}
COUNTERPARTS = {"mmlu_mini": "mmlu_anatomy", "arc_mini": "arc_easy"}
COUNTERPARTS["commonsense_mini"] = "commonsense_qa"
CONTINUATIONS = ["mmlu_mini_continuation", "commonsense_mini_continuation"]
LETTERS = "ABCDE"

each_set = pytest.mark.parametrize("name", list(SETS))


def rows_of(name: str) -> tuple[dict[str, Any], ...]:
    return read_rows(SETS[name][0])


def texts(row: Mapping[str, Any]) -> list[str]:
    choices = row["choices"]
    return choices if isinstance(choices, list) else choices["text"]  # type: ignore[no-any-return]


def position(row: Mapping[str, Any]) -> int:
    """0-based place of the right answer; raises for a label that is none."""
    return row["answer"] if "answer" in row else LETTERS.index(row["answerKey"])


@each_set
def test_every_line_has_the_fields_in_order(name: str) -> None:
    _, fields, n_choices = SETS[name]
    for row in rows_of(name):
        assert list(row) == fields
        assert len(texts(row)) == n_choices
        assert 0 <= position(row) < n_choices
        if isinstance(row["choices"], dict):
            assert row["choices"]["label"] == list(LETTERS[:n_choices])


@each_set
def test_texts_are_filled_trimmed_and_different(name: str) -> None:
    for row in rows_of(name):
        assert all(text and text == text.strip() for text in (row["question"], *texts(row)))
        assert row["question"].endswith("?")
        assert len({normalise(text) for text in texts(row)}) == len(texts(row))


@each_set
def test_there_are_enough_questions_and_clusters(name: str) -> None:
    clusters = Counter(cluster_of(name, row) for row in rows_of(name))
    assert None not in clusters
    assert sum(clusters.values()) >= 120
    assert len(clusters) >= (12 if name == "mmlu_mini" else 10)
    assert max(clusters.values()) <= 2 * min(clusters.values())


@each_set
def test_right_answers_stand_in_all_positions_alike(name: str) -> None:
    counts = Counter(position(row) for row in rows_of(name))
    assert len(counts) == SETS[name][2]
    assert max(counts.values()) - min(counts.values()) <= 2


@each_set
def test_length_does_not_give_the_right_answer_away(name: str) -> None:
    """Always taking the longest choice, or the shortest, is little better than chance."""
    lengths = [[len(text) for text in texts(row)] for row in rows_of(name)]
    right = [position(row) for row in rows_of(name)]
    for extreme in (min, max):
        scores = [
            (of_row[place] == extreme(of_row)) / of_row.count(extreme(of_row))
            for of_row, place in zip(lengths, right, strict=True)
        ]
        assert np.mean(scores) <= 1 / SETS[name][2] + 0.1


@each_set
def test_any_first_sixty_lines_mix_the_clusters(name: str) -> None:
    clusters = [cluster_of(name, row) for row in rows_of(name)]
    assert len(set(clusters[:60])) >= len(set(clusters)) - 1


def test_no_question_occurs_twice_over_all_embedded_sets() -> None:
    questions = [row["question"] for name in SETS for row in rows_of(name)]
    questions += [row["question"] for row in truthful_questions()]
    questions += [pair["prompt"] for pair in pairs()]
    counts = Counter(map(question_key, questions))
    assert [text for text in questions if counts[question_key(text)] > 1] == []


@pytest.mark.slow
@each_set
def test_the_format_is_that_of_the_benchmark(name: str) -> None:
    """Prompt, choices and target as in lm-eval's own task file."""
    ours, theirs = task_config(name), task_config(COUNTERPARTS[name])
    for key in ("output_type", "doc_to_text", "doc_to_choice", "doc_to_target", "metric_list"):
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("task_name", [*SETS, *CONTINUATIONS])
def test_the_right_answer_scores(task_name: str, no_hub: None) -> None:
    name = task_name.removesuffix("_continuation")
    task = load_tasks([task_name], None)[task_name]
    assert len(task.eval_docs) == len(rows_of(name))
    for doc, row in zip(task.eval_docs, rows_of(name), strict=True):
        likely = [(-1.0 if i == position(row) else -99.0, False) for i in range(SETS[name][2])]
        scores = task.process_results(doc, likely)
        assert scores == dict.fromkeys(card(task_name).metrics, 1.0)


@pytest.mark.parametrize("task_name", CONTINUATIONS)
def test_continuations_are_the_texts_of_the_choices(task_name: str, no_hub: None) -> None:
    task = load_tasks([task_name], None)[task_name]
    for doc in task.eval_docs:
        prompt = task.fewshot_context(doc, 0)
        assert prompt.endswith(f"Question: {doc['question']}\nAnswer:")
        continuations = [request.args[1] for request in task.construct_requests(doc, prompt)]
        assert continuations == [f" {text}" for text in texts(doc)]


def test_prompts(no_hub: None) -> None:
    """The prompt of mmlu_mini names the subject; examples leave out the question itself."""
    tasks = load_tasks([*SETS, *CONTINUATIONS], None)
    for name, task in tasks.items():
        doc = task.eval_docs[0]
        alone, with_one = task.fewshot_context(doc, 0), task.fewshot_context(doc, 1)
        assert alone.endswith("\nAnswer:")
        assert doc["question"] in alone
        assert with_one.count(doc["question"]) == 1
        assert with_one.count("Answer:") == 2, name
    doc = tasks["mmlu_mini"].eval_docs[0]
    start = f"The following are multiple choice questions (with answers) about {doc['subject']}.\n"
    assert tasks["mmlu_mini"].fewshot_context(doc, 0).startswith(start)


@pytest.mark.parametrize("task_name", [*SETS, *CONTINUATIONS])
def test_cards(task_name: str) -> None:
    described = card(task_name)
    assert (described.role, described.needs, described.benchmark) == ("capability", (), None)
