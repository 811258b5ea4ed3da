"""Reading what `lm_eval --log_samples` wrote: whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval_log import DATE, doc_hash, sample, write_log

from steereval.common.errors import InputError
from steereval.results.lm_eval.sample_files import read_sample_file
from steereval.results.lm_eval.samples import item_ids, response_rows, scores_of


def test_a_file_is_read_as_lm_eval_held_it(tmp_path: Path) -> None:
    path = write_log(tmp_path, [sample(i, {"acc": float(i % 2)}) for i in range(3)])
    sample_file = read_sample_file(path)
    assert sample_file.task == "truth"
    assert sample_file.model == "tiny"
    assert sample_file.directions == {"acc": True}
    first = sample_file.samples[0]
    assert first["arguments"] == [[f"Q: {doc_hash(0)[:16]}\nA:", " An answer."]]
    assert first["resps"] == [[(-1.5, True)]]
    provenance = sample_file.provenance
    assert provenance["lm_eval"] == "0.4.13"
    assert provenance["model_args"] == {"pretrained": "tiny", "dtype": "float32"}
    assert provenance["task_version"] == 1.0
    assert provenance["file"] == path.name


def test_tasks_whose_names_hold_underscores_and_dates(tmp_path: Path) -> None:
    path = write_log(tmp_path, [sample(0, {"acc": 1.0})], task="a_b_2024-01-01T1_c")
    assert read_sample_file(path).task == "a_b_2024-01-01T1_c"


def test_a_results_file_of_another_name_and_a_missing_one(tmp_path: Path) -> None:
    path = write_log(tmp_path, [sample(0, {"acc": 1.0})])
    (tmp_path / f"results_{DATE}.json").rename(tmp_path / f"mine_{DATE}.json")
    assert read_sample_file(path).model == "tiny"
    (tmp_path / f"mine_{DATE}.json").unlink()
    alone = read_sample_file(path)
    assert alone.model is None
    assert alone.directions == {}
    assert alone.provenance["lm_eval"] is None


def test_samples_are_ordered_as_one_process_writes_them(tmp_path: Path) -> None:
    """Several processes hand in their shares one after the other; ids count occurrences."""
    lines = [
        sample(i, {"acc": float(i)}, doc_hash=doc_hash(0), filter=name)
        for name in ("strict", "loose")
        for i in (2, 0, 1)
    ]
    sample_file = read_sample_file(write_log(tmp_path, lines)).samples
    assert [(s["filter"], s["doc_id"]) for s in sample_file] == [
        (name, i) for name in ("strict", "loose") for i in range(3)
    ]
    short = doc_hash(0)[:16]
    assert item_ids(sample_file) == [short, f"{short}-2", f"{short}-3"] * 2
    assert {score.name for score in scores_of(sample_file, "truth")} == {"acc:strict", "acc:loose"}


def test_generations_likelihoods_and_rolling_ones_are_distinguished(tmp_path: Path) -> None:
    options = {"until": ["\n"], "do_sample": False}
    text = sample(0, {"acc": 1.0}, resps=[["-3.5"]],
                  arguments={"gen_args_0": {"arg_0": "Q", "arg_1": options}})  # fmt: skip
    rolling = sample(1, {"acc": 1.0}, resps=[["-3.5"]], arguments={"gen_args_0": {"arg_0": "Q"}})
    sample_file = read_sample_file(write_log(tmp_path, [text, rolling]))
    generation, likelihood = response_rows("c", "truth", sample_file.samples)
    assert (generation["kind"], generation["continuation"]) == ("generation", "-3.5")
    assert (likelihood["kind"], likelihood["log_likelihood"]) == ("loglikelihood", -3.5)


def test_characters_that_split_lines_elsewhere(tmp_path: Path) -> None:
    line = sample(0, {"acc": 1.0}, doc={"question": "a\u2028b\x85c\x0b"})
    assert len(read_sample_file(write_log(tmp_path, [line])).samples) == 1


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: {key: value for key, value in line.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("doc_hash"), "has no 'doc_hash'"),
        (without("metrics"), "has no 'metrics'.*0.4.8"),
        (without("acc"), "no value of the metric 'acc'"),
        (lambda line: line | {"doc_hash": "xyz"}, "doc_hash is 'xyz'"),
        (lambda line: line | {"doc_id": "3"}, "its 'doc_id' is '3'"),
        (lambda line: line | {"resps": []}, "1 requests and 0 answers"),
        (lambda line: line | {"resps": [[["-1", "maybe"]]]}, "maybe"),
        (lambda line: [line], "not an object"),
    ],
)
def test_a_line_that_is_not_a_sample_is_named(
    change: Callable[[Any], Any], message: str, tmp_path: Path
) -> None:
    path = write_log(tmp_path, [sample(i, {"acc": 1.0}) for i in range(3)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1] = change(lines[1])
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(InputError, match=f"line 2 of .*{message}"):
        read_sample_file(path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = write_log(tmp_path, [sample(i, {"acc": 1.0}) for i in range(3)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="line 3 of"):
        read_sample_file(path)


def test_files_that_are_not_logs(tmp_path: Path) -> None:
    path = write_log(tmp_path, [sample(0, {"acc": 1.0})])
    with pytest.raises(InputError, match="not named as lm-eval names"):
        read_sample_file(tmp_path / f"results_{DATE}.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_sample_file(tmp_path / f"samples_other_{DATE}.jsonl")
    (tmp_path / f"results_{DATE}.json").write_text("{")
    with pytest.raises(InputError, match=r"results_.* cannot be read"):
        read_sample_file(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no samples"):
        read_sample_file(path)


def test_two_files_in_one_are_refused(tmp_path: Path) -> None:
    path = write_log(tmp_path, [sample(i, {"acc": 1.0}) for i in (0, 1, 0)])
    with pytest.raises(InputError, match="document 0 twice"):
        read_sample_file(path)
