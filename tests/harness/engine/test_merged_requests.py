"""Tasks of one family: what several of them ask is asked once, and each gets its own answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.engine.merged_requests import merge_requests
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.estimate import cost
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import groups, one_of_each_arm, one_of_each_task, tasks_named
from steereval.harness.planning.known_cost import known_cost
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.run.driver import run_grid
from steereval.results.store.run_folder import RunFolder

FAMILY = ("truthfulqa_mc1", "truthfulqa_mc2")
request_lists = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), max_size=8)


def grid(model: str, *tasks: str | dict[str, Any]) -> Grid:
    return parse_grid(
        {
            "name": "family",
            "models": [{"name": model, "layers": [1]}],
            "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
            "methods": ["none", {"name": "caa", "strengths": [1, 3]}],
            "tasks": list(tasks),
        }
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six questions, whose second list of answers holds all of the first but one."""
    rows = [
        {
            "question": f"What is wrong with {thing}?",
            "mc1_targets": {f"Nothing is wrong with {thing}.": 1, f"The {thing} is cheese.": 0},
            "mc2_targets": {
                f"Nothing is wrong with {thing}.": 1,
                "Nothing at all.": 1,
                f"All {thing} is false.": 0,
            },
        }
        for thing in ("moon", "sun", "bread", "rain", "glass", "wood")
    ]
    folder = tmp_path_factory.mktemp("data")
    (folder / "truthfulqa").mkdir()
    (folder / "truthfulqa" / "mc_task.json").write_text(json.dumps(rows), encoding="utf-8")
    table = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers\n"
    (folder / "truthfulqa" / "TruthfulQA.csv").write_text(table, encoding="utf-8")
    return folder


@given(request_lists, request_lists)
def test_each_task_gets_its_own(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    """In its order; and nothing is asked more often than the task that asks it most often does."""
    tasks = {
        name: [Instance("loglikelihood", {}, args, i) for i, args in enumerate(task_requests)]
        for name, task_requests in (("first", first), ("second", second))
    }
    together = merge_requests(tasks)
    for name, task_requests in (("first", first), ("second", second)):
        requests, values = together.of(name, [request.args for request in together.requests])
        assert [request.args for request in requests] == values == task_requests
        assert len(set(together.indices[name])) == len(task_requests), (
            "what is asked twice is drawn twice"
        )
    assert Counter(r.args for r in together.requests) == Counter(first) | Counter(second)


def test_tasks_of_a_family_are_one_group() -> None:
    given = grid("any", "truthfulqa_mc1", "truthful_mini_mc", "truthfulqa_mc2")
    pair, other = groups(make_plan(given))
    assert tasks_named(pair) == "truthfulqa_mc1+truthfulqa_mc2"
    assert tasks_named(other) == "truthful_mini_mc"
    assert [cell.task.name for cell in pair] == [*FAMILY] * 3
    assert [cell.strength for cell in one_of_each_arm(pair)] == [0, 1, 3]
    assert [cell.task.name for cell in one_of_each_task(pair)] == [*FAMILY]


def test_tasks_of_a_family_with_other_limits_are_two_groups() -> None:
    limited = grid("any", {"name": "truthfulqa_mc1", "limit": 3}, "truthfulqa_mc2")
    assert len(groups(make_plan(limited))) == 2


@pytest.mark.slow
def test_together_they_get_what_each_gets_alone(
    tiny_folder: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    answer = SteeredLM.answer

    def counting(self: SteeredLM, kind: str, requests: Any, *rest: Any) -> Any:
        counts.append(len(requests))
        return answer(self, kind, requests, *rest)

    monkeypatch.setattr(SteeredLM, "answer", counting)
    for name, tasks in (("both", FAMILY), ("one", FAMILY[:1]), ("two", FAMILY[1:])):
        run = run_grid(grid(tiny_folder, *tasks), tmp_path / name, data_dir, lambda line: None)
        assert run.failed == ()
    assert counts == [24, 12, 18]
    both, one, two = (responses_in(tmp_path / name) for name in ("both", "one", "two"))
    assert len(both) == 3 * (12 + 18)
    assert both.keys() == one.keys() | two.keys()
    for key, value in (one | two).items():
        assert both[key] == pytest.approx(value, abs=1e-4, rel=2e-5)
    scores = RunFolder(tmp_path / "both").read_items().to_pylist()
    assert Counter(row["task"] for row in scores) == dict.fromkeys(FAMILY, 3 * 6)


def responses_in(out: Path) -> dict[tuple[str, str, int], float]:
    """What each cell answered to each request."""
    return {
        (row["cell_id"], row["item_id"], row["request"]): row["log_likelihood"]
        for row in RunFolder(out).read_responses().to_pylist()
    }


def cells_of(model: str, *tasks: str) -> tuple[Cell, ...]:
    (group,) = groups(make_plan(grid(model, *tasks)))
    return group


@pytest.mark.slow
def test_their_cost_is_counted_together(tiny_folder: str, data_dir: Path) -> None:
    """Alone each feeds all of its own; together, what both ask once."""
    counter = cost.Counter(TaskResources(data_dir), 8)
    both, one, two = (
        counter.count(cells_of(tiny_folder, *tasks)) for tasks in (FAMILY, FAMILY[:1], FAMILY[1:])
    )
    assert both.tokens_unshared == one.tokens_unshared + two.tokens_unshared
    assert both.flops_alone == one.flops_alone + two.flops_alone
    assert max(one.above, two.above) < both.above < one.above + two.above


def test_their_cost_is_estimated_together() -> None:
    model = "meta-llama/Llama-3.1-8B"
    costs = [known_cost(cells_of(model, *tasks)) for tasks in (FAMILY, FAMILY[:1], FAMILY[1:])]
    both, one, two = costs
    assert both is not None
    assert one is not None
    assert two is not None
    assert both.tokens_unshared == one.tokens_unshared + two.tokens_unshared
    assert both.flops == two.flops > one.flops
