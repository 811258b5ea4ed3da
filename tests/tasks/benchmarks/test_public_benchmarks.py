"""The paper's benchmarks from folders of files as they are distributed, and from the hub."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from public_benchmarks import SUBJECTS, mmlu, preference, preferences, toxic_prompts

from steereval.common.errors import TaskError
from steereval.tasks.benchmarks.realtoxicity import documents as realtoxicity
from steereval.tasks.benchmarks.ultrafeedback import documents as ultrafeedback
from steereval.tasks.catalogue.cards import card, cluster_of, load_tasks
from steereval.tasks.data import hub
from steereval.tasks.data.public_data import PublicData, by_hash

PUBLISHED = {"max_gen_toks": 50, "do_sample": True, "temperature": 0.7, "top_p": 0.9,
             "repetition_penalty": 1.1}  # fmt: skip


def test_truthfulqa_open(data_dir: Path, no_hub: None) -> None:
    """All questions of the choice file, also those that the revised table lacks."""
    (task,) = load_tasks(["truthfulqa_open"], data_dir).values()
    docs = list(task.eval_docs)
    assert [(doc["question"], doc["category"], doc["best_answer"]) for doc in docs] == [
        ("Is water wet?", "Physics", "Yes."),
        ("Who’s there?", "Jokes", "Nobody."),
        ("What time is it?", None, "I have no comment."),
    ]
    assert task.doc_to_text(docs[0]) == "Q: Is water wet?\nA:"
    assert task.config.generation_kwargs == {**PUBLISHED, "until": ["\n\n", "Q:"]}
    assert cluster_of("truthfulqa_open", docs[0]) == "Physics"
    assert cluster_of("truthfulqa_open", docs[2]) is None
    scores = task.process_results(docs[0], [" it is is "])
    assert scores == {"distinct_1": 2 / 3, "distinct_2": 1.0, "distinct_3": 1.0}


def test_the_real_questions(real_truthfulqa: Path, no_hub: None) -> None:
    (task,) = load_tasks(["truthfulqa_open"], real_truthfulqa).values()
    size = card("truthfulqa_open").size
    assert size is not None
    assert len(task.eval_docs) == size.documents == 817
    assert len({doc["question"] for doc in task.eval_docs}) == 817


def test_ultrafeedback(tmp_path: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first prompts by their hash, each once, whatever their order in the file."""
    monkeypatch.setattr(ultrafeedback, "PROMPTS", 3)
    rows = [preference(f"Say {n}.", "Yes.", "No.") for n in (4, 2, 0, 3, 1, 2)]
    preferences(tmp_path, "test_prefs", [*rows, preference(" ", "Yes.", "No.")])
    (task,) = load_tasks(["ultrafeedback"], tmp_path).values()
    wanted = sorted(
        (f"Say {n}." for n in range(5)), key=lambda t: hashlib.sha256(t.encode()).digest()
    )
    assert [doc["question"] for doc in task.eval_docs] == wanted[:3]
    assert task.doc_to_text(task.eval_docs[0]) == f"Q: {wanted[0]}\nA:"
    assert task.config.generation_kwargs == {**PUBLISHED, "until": []}
    assert set(task.process_results(task.eval_docs[0], ["a b"])) == set(
        card("ultrafeedback").metrics
    )


def test_realtoxicity(tmp_path: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtoxicity, "PROMPTS", 2)
    toxic = {f"toxic {n}": 0.51 + n / 10 for n in range(4)}
    toxic_prompts(tmp_path, {"mild": 0.5, "unknown": None, **toxic, " ": 0.9})
    (task,) = load_tasks(["realtoxicity"], tmp_path).values()
    wanted = sorted(toxic, key=lambda text: hashlib.sha256(text.encode()).digest())[:2]
    docs = list(task.eval_docs)
    assert docs == [{"prompt": text, "prompt_toxicity": toxic[text]} for text in wanted]
    assert task.doc_to_text(docs[0]) == wanted[0]


def test_mmlu(tmp_path: Path, no_hub: None) -> None:
    mmlu(tmp_path)
    (task,) = load_tasks(["mmlu_all"], tmp_path).values()
    docs = sorted(task.eval_docs, key=lambda doc: (doc["subject"], doc["answer"]))
    assert [doc["subject"] for doc in docs] == [SUBJECTS[0]] * 3 + [SUBJECTS[1]] * 3
    assert task.fewshot_context(docs[4], 0) == (
        "The following are multiple choice questions (with answers) about world religions.\n\n"
        "test question 1 on world_religions?\n"
        "A. w of 1\nB. x of 1\nC. y of 1\nD. z of 1\nAnswer:"
    )
    requests = task.construct_requests(docs[0], task.doc_to_text(docs[0]))
    assert [request.args[1] for request in requests] == [" A", " B", " C", " D"]
    likelihoods = [(-2.0, False), (-1.0, True), (-3.0, False), (-4.0, False)]
    assert [task.process_results(doc, likelihoods)["acc"] for doc in docs[:3]] == [0.0, 1.0, 0.0]
    assert cluster_of("mmlu_all", docs[0]) == "abstract_algebra"


def test_the_first_questions_of_mmlu_are_of_many_subjects(tmp_path: Path, no_hub: None) -> None:
    """A limit would else leave whole subjects out: the files list one after the other."""
    mmlu(tmp_path, 40)
    (task,) = load_tasks(["mmlu_all"], tmp_path).values()
    of_the_first = sum(doc["subject"] == SUBJECTS[0] for doc in list(task.eval_docs)[:40])
    assert 10 <= of_the_first <= 30


def test_an_example_of_mmlu_is_not_a_tested_question(tmp_path: Path, no_hub: None) -> None:
    mmlu(tmp_path)
    (task,) = load_tasks(["mmlu_all"], tmp_path).values()
    shown = task.fewshot_context(task.eval_docs[0], 2)
    assert shown.count("dev question") == 2
    assert shown.count("test question") == 1


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ultrafeedback", "ultrafeedback/data/test_prefs-*.parquet"),
        ("realtoxicity", "realtoxicityprompts/prompts.jsonl"),
        ("mmlu_all", "mmlu/all/test-*.parquet"),
        ("truthfulqa_open", "truthfulqa/mc_task.json"),
    ],
)
def test_missing_data(no_hub: None, tmp_path: Path, name: str, wanted: str) -> None:
    with pytest.raises(TaskError, match="--data-dir or STEEREVAL_DATA") as refused:
        load_tasks([name], tmp_path)
    assert wanted in str(refused.value)


@pytest.mark.parametrize(
    "content", ["{", '{"prompt": 3}', '{"prompt": {"text": "t"}}', "[1]", '{"prompt": null}']
)
def test_damaged_files(tmp_path: Path, no_hub: None, content: str) -> None:
    toxic_prompts(tmp_path, {}).write_text(content, encoding="utf-8")
    with pytest.raises(TaskError, match=r"prompts\.jsonl cannot be read|is not what it should be"):
        load_tasks(["realtoxicity"], tmp_path)


def test_a_damaged_table(tmp_path: Path, no_hub: None) -> None:
    preferences(tmp_path, "test_prefs", [preference("p", "a", "b")]).write_bytes(b"PAR1")
    with pytest.raises(TaskError, match=r"test_prefs-.* cannot be read"):
        load_tasks(["ultrafeedback"], tmp_path)


def test_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the files of the split are asked for, and they make the same documents."""
    import datasets

    path = toxic_prompts(tmp_path, {"one": 0.9, "two": 0.1, "three": 0.8})
    rows = [json.loads(line) for line in path.read_text().splitlines()]

    def from_hub(path: str, data_files: dict[str, str], split: str) -> Any:
        assert (path, data_files) == ("allenai/real-toxicity-prompts", {"rows": "prompts.jsonl"})
        return {"rows": datasets.Dataset.from_list(rows)}[split]

    monkeypatch.delenv("STEEREVAL_DATA", raising=False)
    monkeypatch.setattr(hub, "hub_in_reach", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", from_hub)
    assert realtoxicity.prompts(None) == realtoxicity.prompts(tmp_path)


@pytest.mark.parametrize("inner", ["", "mmlu"])
@pytest.mark.parametrize("name", ["all/test-00000.parquet", "test.jsonl"])
def test_where_files_are_looked_for(tmp_path: Path, inner: str, name: str) -> None:
    """Under the hub's names, or as one file; in the data folder, or in the folder itself."""
    import pyarrow as pa
    import pyarrow.parquet

    data = PublicData("mmlu", "cais/mmlu", {"test": ("all/test-*.parquet", "test.jsonl")})
    path = tmp_path / "mmlu" / name
    path.parent.mkdir(parents=True)
    if path.suffix == ".jsonl":
        path.write_text('{"a": "ü"}\n\n{"a": "b"}\n', encoding="utf-8")
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist([{"a": "ü"}, {"a": "b"}]), path)
    assert data.rows("test", tmp_path / inner) == [{"a": "ü"}, {"a": "b"}]


def test_the_choice_by_hash_does_not_depend_on_the_order() -> None:
    rows = [{"t": str(n % 7), "n": n} for n in range(14)]
    chosen = by_hash(rows, "t")
    assert [row["n"] for row in chosen if row["n"] < 7] == [row["n"] for row in chosen]
    assert [r["t"] for r in by_hash(rows[::-1], "t")] == [r["t"] for r in chosen]
    assert sorted(r["t"] for r in chosen) == [str(n) for n in range(7)]
    assert [r["t"] for r in chosen] != sorted(r["t"] for r in chosen)
