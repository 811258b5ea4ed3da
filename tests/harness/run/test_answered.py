"""Answers that are kept come back as they were, for the same requests alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from steereval.harness.config.grid import parse_grid
from steereval.harness.engine.arms import Answers
from steereval.harness.engine.merged_requests import merge_requests
from steereval.harness.engine.replay import Chats, OtherRequests
from steereval.harness.engine.treatments import unsteered
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.answered import Answered, begun
from steereval.harness.run.item_rows import named
from steereval.models.steering.displacement_stats import DisplacementStats
from steereval.results.store.answers import AnswerStore
from steereval.results.store.storage import LocalStorage

TASKS = ("truthful_mini_mc", "truthful_mini_gen")
OPTIONS = {"until": ["\n"], "do_sample": True}
finite = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "loglikelihood": st.tuples(finite, st.booleans()),
    "loglikelihood_rolling": finite,
    "generate_until": st.text(st.characters(exclude_categories=["Cs"])),
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "loglikelihood": ("a prompt", " a text"),
    "loglikelihood_rolling": ("a text",),
    "generate_until": ("a prompt", OPTIONS),
}


def cells() -> list[Cell]:
    """Two arms on two tasks."""
    return make_plan(
        parse_grid(
            {
                "name": "kept",
                "models": [{"name": "m", "layers": [0]}],
                "contrast": "truthful-mini",
                "methods": ["none", {"name": "caa", "strengths": [1]}],
                "tasks": list(TASKS),
            }
        )
    )


def requests(kind: str, count: int) -> list[Instance]:
    """Two for each document, and each of them asked for twice."""
    result = [
        Instance(kind, {"question": f"q{place // 2}"}, ARGUMENTS[kind], place % 2)
        for place in range(count)
    ]
    for place, each in enumerate(result):
        each.doc_id = place // 2
    return [each for each in result for _ in range(2)]


@pytest.mark.parametrize("kind", VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
def test_values_come_back_to_the_last_bit(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    group = cells()
    requests_by_task = {task: requests(kind, data.draw(st.integers(1, 4))) for task in TASKS}
    together = merge_requests(requests_by_task)
    arms = list(dict.fromkeys(cell.arm for cell in group))
    answers = [
        Answers(
            [data.draw(VALUES[kind]) for _ in together.requests],
            {"0": DisplacementStats(3, 0.1)},
            True,
        )
        for _ in arms
    ]
    before = Answered(group, chats=Chats({"k": "a chat"}))
    before.add(kind, together, dict.fromkeys(arms, unsteered()), answers)
    before.facts = {cell.id: {"path": "plain"} for cell in group}
    store = AnswerStore(LocalStorage(tmp_path / "run"))
    before.keep(store)
    ((name, result),) = begun(store, group[1:])
    assert result == group[1:]
    after = Answered.read(store, name, result)
    for cell in result:
        own_requests = requests_by_task[cell.task.name]
        values = after.response_log(cell)[kind](own_requests)
        assert repr(values) == repr(before.response_log(cell)[kind](own_requests))
        assert after.displacement(cell) == before.displacement(cell) == {"0": 0.1 / 3}
        assert after.responses(cell) == before.responses(cell)
        assert after.facts[cell.id] == {"path": "plain"}
    assert after.acting == set(arms)
    assert after.chats.known == {"k": "a chat"}


@pytest.mark.parametrize("change", ["prompt", "options", "document", "number", "order", "count"])
def test_other_requests_are_distinguished(tmp_path: Path, change: str) -> None:
    (cell, *_), kind = cells(), "generate_until"
    instances = requests(kind, 4)
    before = Answered([cell])
    together = merge_requests({cell.task.name: instances})
    texts = Answers([str(place) for place in range(len(instances))], {}, False)
    before.add(kind, together, {cell.arm: unsteered()}, [texts])
    store = AnswerStore(LocalStorage(tmp_path))
    before.keep(store)
    after = Answered.read(store, before.id, [cell]).response_log(cell)[kind]
    assert after(requests(kind, 4)) == [str(place) for place in range(8)]
    other = requests(kind, 4)
    if change == "prompt":
        other[3].arguments = ("another prompt", OPTIONS)
    elif change == "options":
        other[3].arguments = ("a prompt", OPTIONS | {"temperature": 0.5})
    elif change == "document":
        for each in other:
            each.doc = {"question": f"{each.doc['question']}?"}
    elif change == "number":
        other[3].idx = 7
    elif change == "order":
        other[0], other[-1] = other[-1], other[0]
    else:
        other = other[:-1]
    with pytest.raises(OtherRequests):
        after(other)


def test_names_of_requests() -> None:
    """An item's id is its document's; a document that comes again has another."""
    instances = requests("loglikelihood", 4)
    twin = dataclasses.replace(instances[0], doc_id=9)
    names = named("loglikelihood", [*instances, twin])
    assert [name.number for name in names] == [0, 0, 1, 1, 0, 0, 1, 1, 0]
    first, second = names[0].item_id, names[4].item_id
    assert [name.item_id for name in names] == [first] * 4 + [second] * 4 + [f"{first}-2"]
    assert len(first) == len(second) == 16
