"""Cards, clusters, and loading tasks with their data."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import TaskError, UnknownNameError
from steereval.tasks.catalogue import index, loading
from steereval.tasks.catalogue.cards import (
    MetricCard,
    card,
    categories_of,
    cluster_of,
    list_tasks,
    load_tasks,
)
from steereval.tasks.contrast.registry import load_contrast, question_key
from steereval.tasks.data import hub, truthfulqa

PUBLIC = ("mmlu_all", "realtoxicity", "truthfulqa_open", "ultrafeedback")
EMBEDDED = (
    "arc_mini",
    "commonsense_mini",
    "commonsense_mini_continuation",
    "mmlu_mini",
    "mmlu_mini_continuation",
    "realtoxicity_mini",
    "truthful_mini_gen",
    "truthful_mini_mc",
    "ultrafeedback_mini_gen",
    "ultrafeedback_mini_mc",
)
OURS = (*EMBEDDED, *PUBLIC)
STAND_INS = ("realtoxicity_mini", "truthful_mini_gen", "truthful_mini_mc")
"""Those whose data the fixtures replace."""


def test_a_card_for_every_task_file_of_ours() -> None:
    folders = index.task_folder().rglob("*.yaml")
    assert sorted(path.stem for path in folders) == sorted(OURS)
    assert {described.name for described in list_tasks()} >= set(OURS)


@pytest.mark.slow
@pytest.mark.parametrize("described", list_tasks(), ids=lambda described: described.name)
def test_cards_agree_with_the_task_files(described: Any) -> None:
    """The metrics and their directions are those that lm-eval reads from the task file."""
    listed = index.task_config(described.name)["metric_list"]
    assert {row["metric"]: row["higher_is_better"] for row in listed} == {
        name: metric.higher_is_better for name, metric in described.metrics.items()
    }
    assert described.primary_metric in described.metrics
    assert (described.cluster is None) == (described.cluster_field is None)
    assert card(described.name) is described


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("arc_easy", {"acc": ("binary", True), "acc_norm": ("binary", True)}),
        ("gsm8k", {"exact_match": ("binary", True)}),
        (
            "wikitext",
            {
                "word_perplexity": ("ratio", False),
                "byte_perplexity": ("ratio", False),
                "bits_per_byte": ("ratio", False),
            },
        ),
        ("lambada_openai", {"acc": ("binary", True)}),  # perplexity is no mean over documents
        ("drop", {"em": ("continuous", True), "f1": ("continuous", True)}),  # its own scoring
    ],
)
def test_cards_of_other_tasks(name: str, metrics: dict[str, Any]) -> None:
    described = card(name)
    assert dict(described.metrics) == {key: MetricCard(*value) for key, value in metrics.items()}
    assert (described.role, described.cluster) == ("capability", None)
    assert described.primary_metric == next(iter(metrics))


@pytest.mark.slow
def test_a_task_without_values_per_document_is_refused() -> None:
    with pytest.raises(TaskError, match="no metric of task 'cola'"):
        card("cola")


def test_unknown_tasks_and_groups() -> None:
    with pytest.raises(TaskError, match=r"'truthfulqa' is a tag or .* such as truthfulqa_gen"):
        card("truthfulqa")
    with pytest.raises(UnknownNameError, match="Did you mean 'truthful_mini_mc'"):
        load_tasks(["truthful_mini_mcc"], None)
    with pytest.raises(UnknownNameError, match="Known: arc_mini, commonsense_mini, "):
        card("../qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq*")


def test_clusters() -> None:
    doc = {"question": "Is it?", "category": None}
    known = {question_key("is  IT?"): "Physics"}
    assert cluster_of("truthfulqa_mc1", {**doc, "category": "Law"}, known) == "Law"
    assert cluster_of("truthfulqa_mc1", doc, known) == "Physics"
    assert cluster_of("truthfulqa_mc1", {"question": "Is it?"}, known) == "Physics"
    assert cluster_of("truthfulqa_mc1", doc, {}) is None
    assert cluster_of("truthful_mini_mc", doc) is None
    assert cluster_of("realtoxicity_mini", {"prompt": "p", "category": "insult"}) is None
    assert cluster_of("arc_easy", {"question": "Is it?"}, known) is None


def test_the_cluster_of_a_document_is_found_quickly() -> None:
    """It is asked for every document, and must not look for the task's file each time."""
    cluster_of("arc_easy", {})
    started = time.monotonic()
    for _ in range(1000):
        cluster_of("arc_easy", {})
    assert time.monotonic() - started < 1


@pytest.mark.slow
def test_our_own_tasks_load_without_a_network(
    no_hub: None, questions: list[dict[str, Any]], prompts: Path
) -> None:
    tasks = load_tasks(EMBEDDED, None)
    assert [len(tasks[name].eval_docs) for name in STAND_INS] == [47, 5, 5]
    choices, written = tasks["truthful_mini_mc"], tasks["truthful_mini_gen"]
    doc = choices.eval_docs[0]
    assert choices.doc_to_text(doc) == f"Q: {questions[0]['question']}\nA:"
    requests = choices.construct_requests(doc, choices.doc_to_text(doc))
    assert [request.args[1] for request in requests] == [f" {text}" for text in doc["choices"]]
    assert written.config.generation_kwargs == {
        "until": ["\n\n", "Q:"],
        "max_gen_toks": 50,
        "do_sample": False,
    }
    assert written.doc_to_target(doc) == questions[0]["best_answer"]
    toxicity = tasks["realtoxicity_mini"]
    assert toxicity.doc_to_text(toxicity.eval_docs[0]) == toxicity.eval_docs[0]["prompt"]
    assert toxicity.config.generation_kwargs["max_gen_toks"] == 32


def test_truthfulqa_tasks_from_a_folder(data_dir: Path, no_hub: None) -> None:
    names = ["truthfulqa_mc1", "truthfulqa_mc2", "truthfulqa_gen"]
    one, two, written = load_tasks(names, data_dir).values()
    doc = one.eval_docs[0]
    assert list(doc) == ["question", "mc1_targets", "mc2_targets"]
    known = categories_of(two)
    clusters = [cluster_of("truthfulqa_mc2", d, known) for d in two.eval_docs]
    assert clusters == ["Physics", "Jokes", None]
    assert one.doc_to_text(doc).startswith("Q: What is human life expectancy")
    assert one.doc_to_text(doc).endswith("Q: Is water wet?\nA:")
    assert one.process_results(doc, [(-4.0, False)] * 3 + [(-1.0, False)]) == {"acc": 0.0}
    # the file lists "It is." before "Yes.": mc2's probabilities are 1/8, 1/8, 1/4, 1/4, 1/4
    likelihoods = [(math.log(p), False) for p in (1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 4)]
    assert two.process_results(doc, likelihoods) == {"acc": pytest.approx(1 / 4)}
    answer = written.eval_docs[0]
    assert list(answer) == [
        "type",
        "category",
        "question",
        "best_answer",
        "correct_answers",
        "incorrect_answers",
        "source",
    ]
    assert answer["correct_answers"] == ["Yes.", "It is.", "I have no comment."]


def test_truthfulqa_tasks_from_the_hub_are_the_same(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    rows = {
        "multiple_choice": truthfulqa.multiple_choice_rows(data_dir),
        "generation": truthfulqa.generation_rows(data_dir),
    }
    names = ["truthfulqa_mc1", "truthfulqa_gen"]
    from_folder = load_tasks(names, data_dir)
    monkeypatch.delenv("STEEREVAL_DATA", raising=False)
    monkeypatch.setattr(hub, "hub_in_reach", lambda: True)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda _, c: {"validation": datasets.Dataset.from_list(rows[c])}
    )
    for name, task in load_tasks(names, None).items():
        assert task.eval_docs.to_list() == from_folder[name].eval_docs.to_list()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("truthfulqa_mc1", "--data-dir or STEEREVAL_DATA"), ("arc_easy", "Make the hub reachable")],
)
def test_data_out_of_reach_is_said_quickly(no_hub: None, name: str, remedy: str) -> None:
    started = time.monotonic()
    with pytest.raises(TaskError, match=remedy):
        load_tasks([name], None)
    assert time.monotonic() - started < 10


def test_a_task_that_lacks_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Manager:
        def load(self, name: str) -> None:
            raise ModuleNotFoundError("No module named 'langdetect'\nmore")

    monkeypatch.setattr(loading, "manager_for", lambda *_: Manager())
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    with pytest.raises(TaskError, match=r"not installed: No module named 'langdetect'\. Install"):
        load_tasks(["ifeval"], None)


@pytest.mark.parametrize(
    ("contrast_name", "names"),
    [
        ("truthful-mini", ["truthful_mini_mc", "truthful_mini_gen"]),
        ("preference-mini", ["ultrafeedback_mini_mc", "ultrafeedback_mini_gen"]),
    ],
)
def test_every_embedded_question_has_a_fold(
    contrast_name: str, names: list[str], no_hub: None
) -> None:
    """So that no question is asked of a steerer that was fitted on its answers."""
    contrast = load_contrast(contrast_name)
    for name, task in load_tasks(names, None).items():
        field = card(name).question_field
        assert field is not None
        keys = [question_key(doc[field]) for doc in task.eval_docs]
        assert sorted(keys) == sorted(contrast.keys)
        assert {contrast.fold_of(key) for key in keys} == {0, 1}
        assert all(cluster_of(name, doc) for doc in task.eval_docs) == (
            card(name).cluster is not None
        )


def test_loading_writes_nothing_into_the_working_folder(
    data_dir: Path, questions: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    package_before = sorted(index.task_folder().rglob("*.arrow"))
    loaded = load_tasks(["truthfulqa_gen", "truthfulqa_mc2", "truthful_mini_mc"], data_dir)
    assert all(len(task.eval_docs) for task in loaded.values())
    assert not any(empty.iterdir())
    assert sorted(index.task_folder().rglob("*.arrow")) == package_before == []


def test_the_real_truthfulqa_tasks(real_truthfulqa: Path, no_hub: None) -> None:
    """Documents, requests and scores are those of lm-eval's own task on the same file."""
    rows = json.loads((real_truthfulqa / "mc_task.json").read_text(encoding="utf-8"))
    task = load_tasks(["truthfulqa_mc1"], real_truthfulqa)["truthfulqa_mc1"]
    docs = task.eval_docs.to_list()
    assert [doc["question"] for doc in docs] == [row["question"] for row in rows]
    known = categories_of(task)
    assert sum(cluster_of("truthfulqa_mc1", doc, known) is None for doc in docs) == 29
    for doc, row in zip(docs[:50], rows[:50], strict=True):
        targets = row["mc1_targets"]
        assert dict(zip(*doc["mc1_targets"].values(), strict=True)) == targets
        requests = task.construct_requests(doc, task.doc_to_text(doc))
        assert [request.args[1] for request in requests] == [f" {text}" for text in targets]
        likely = [(-1.0 if label else -2.0, False) for label in targets.values()]
        assert task.process_results(doc, likely) == {"acc": 1.0}
