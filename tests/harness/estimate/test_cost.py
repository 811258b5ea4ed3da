"""The tokens that a plan counts are those that models are fed."""

from __future__ import annotations

from collections import Counter as Multiset
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from small_tokenizer import VOCABULARY

from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.engine.loading import WorkerSettings
from steereval.harness.engine.replay import Asked, Replay, evaluated
from steereval.harness.estimate.cost import Counter
from steereval.harness.estimate.cost_outlook import CostRow, cost_outlook, merged_rows
from steereval.harness.planning.groups import groups
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.planning.token_cost import Cost
from steereval.harness.run.answered import Answered
from steereval.harness.run.worker import CellWorker
from steereval.models.steering.hook_points import find_blocks

SHIFTS = [
    "none",
    {"name": "caa", "strengths": [1, 3]},
    {"name": "conditional", "strengths": [2]},
    {"name": "caa", "label": "all", "positions": "all", "strengths": [1]},
]


def grid(model: str, **changes: Any) -> Grid:
    data: dict[str, Any] = {
        "name": "counted",
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
        "methods": SHIFTS,
        "tasks": [{"name": "truthful_mini_mc", "limit": 5, "num_fewshot": 2}],
    }
    return parse_grid(data | changes)


class Watch:
    """Counts the tokens that reach the first and the last block and the output of a model."""

    def __init__(self, model: Any) -> None:
        self.seen: Multiset[str] = Multiset()
        blocks = find_blocks(model)
        for name, module in (("lower", blocks[0].mlp), ("upper", blocks[-1].mlp)):
            module.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            self.seen[name] += output.shape[0] * output.shape[1]

        return hook


@pytest.fixture
def worker(tmp_path: Path) -> CellWorker:
    (tmp_path / "cells").mkdir()
    return CellWorker(WorkerSettings(str(tmp_path), None, 64, "cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("methods", [SHIFTS, ["none"], SHIFTS[:2]], ids=["all", "none", "caa"])
def test_likelihoods(tiny_folder: str, worker: CellWorker, methods: Any) -> None:
    """Together they are fed what was counted, and alone by lm-eval's own model too."""
    (group,) = groups(make_plan(grid(tiny_folder, methods=methods)))
    worker._complete(Answered(group))  # fits, and keeps no lower states of these requests
    lm = worker._model(group[0].model)
    assert lm.steering_backend.lower_blocks is not None
    lm.steering_backend.lower_blocks.cached.clear()
    watch = Watch(lm.model)
    worker._complete(Answered(group))
    cost = Counter(TaskResources(None), 64).count(group)
    assert (cost.below, cost.above) == (watch.seen["lower"], watch.seen["upper"])
    assert cost.tokens_unshared == len(group) * fed_to_lm_eval(tiny_folder, group[0])
    assert cost.generated == 0
    assert cost.flops < cost.flops_alone


def fed_to_lm_eval(folder: str, cell: Any) -> int:
    """Tokens that lm-eval's own model is fed, without padding."""
    task = TaskResources(None).task(cell)
    hf = HFLM(folder, device="cpu", dtype="float32", batch_size=1)
    watch = Watch(hf.model)
    try:
        evaluated(Replay({}), task, cell)
    except Asked as error:
        hf.loglikelihood(error.requests, disable_tqdm=True)
    return watch.seen["upper"]


@pytest.mark.slow
def test_generation(tiny_folder: str, worker: CellWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt is there once for all cells; nothing stops before the last token here."""
    short = {"until": [], "max_gen_toks": 6}
    task = {"name": "truthful_mini_gen", "limit": 3, "generation": short}
    (group,) = groups(make_plan(grid(tiny_folder, methods=SHIFTS[:2], tasks=[task])))
    # Texts are scored for their perplexity too, which is not counted.
    monkeypatch.setattr("steereval.harness.run.worker.wants_perplexity", lambda task: False)
    worker._complete(Answered(group))
    lm = worker._model(group[0].model)
    watch, answered = Watch(lm.model), Answered(group)
    worker._complete(answered)
    cost = Counter(TaskResources(None), 64).count(group)
    assert cost.generated == 3 * 3 * 6
    (page,) = answered.pages.values()
    lengths = [len(tokens) for tokens in lm.tokenizer(list(page.prompts)).input_ids]
    assert cost.tokens_unshared == 3 * sum(lengths) + 3 * 3 * 6
    assert cost.above == sum(lengths) + 3 * 3 * 6
    # Padding is fed too; a prompt's last token is fed for each cell, and none's last answer back.
    assert watch.seen["upper"] == 3 * (max(lengths) - 1) + 3 * 3 * 6


def test_the_arithmetic(tiny_folder: str) -> None:
    """Two operations a weight and token, by hand, for one unsteered cell."""
    (group,) = groups(make_plan(grid(tiny_folder, methods=["none"])))
    cost = Counter(TaskResources(None), 64).count(group)
    attention, mlp, norms = 32 * (32 + 16 + 16 + 32), 3 * 32 * 48, 2 * 32
    block, output = attention + mlp + norms, 32 * VOCABULARY
    assert cost.flops_alone == 2 * cost.tokens_unshared * (3 * block + output)
    assert cost.below == cost.above


def test_a_model_that_is_not_at_hand(tmp_path: Path) -> None:
    model = str(tmp_path / "nothing")
    outlook = cost_outlook(grid(model), make_plan(grid(model)), TaskResources(None))
    (reason,) = outlook.reasons
    assert "nothing" in reason
    assert {row.cost for row in outlook.rows} == {None}
    assert outlook.total == Cost()
    assert outlook.estimated == 0


@pytest.mark.slow
def test_groups_that_feed_the_same_are_counted_once(
    tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever steers them and how far, but not where; the table is that of counting each."""
    methods = [
        "none",
        *({"name": name, "strengths": list(range(1, 17))} for name in ("caa", "repe", "iti")),
        {"name": "caa", "label": "all", "positions": "all", "strengths": list(range(1, 17))},
    ]
    task = {"name": "truthful_mini_mc", "limit": 2}
    some = grid(tiny_folder, methods=methods, tasks=[task])
    cells = make_plan(some)
    result = groups(cells)
    each = [Counter(TaskResources(None), 32).count(group) for group in result]
    counted = []
    count = Counter.count
    monkeypatch.setattr(Counter, "count", lambda s, group: counted.append(group) or count(s, group))
    total = cost_outlook(some, cells, TaskResources(None)).total
    assert len(counted) < len(result)
    assert total.tokens_unshared == sum(cost.tokens_unshared for cost in each)
    assert total.flops == pytest.approx(sum(cost.flops for cost in each))


@pytest.mark.slow
def test_the_table_adds_up(tiny_folder: str) -> None:
    some = grid(tiny_folder, tasks=["truthful_mini_mc"], methods=SHIFTS[:2])
    cells = make_plan(some)
    outlook = cost_outlook(some, cells, TaskResources(None))
    (row,) = outlook.rows
    assert row.cost == outlook.total
    assert row.cells == len(cells)


def test_rows_are_summed_over_columns_that_are_left_out() -> None:
    cost = Cost(tokens_unshared=3, below=1, flops=2.0)
    rows = [
        CostRow("a", "t", "1", 2, cost),
        CostRow("b", "t", "1", 4, cost),
        CostRow("a", "u", "2", 8, None),
    ]
    assert merged_rows(rows, "model", "task", "layer") == rows
    assert merged_rows(rows, "task") == [
        CostRow("", "t", "", 6, cost + cost),
        CostRow("", "u", "", 8, None),
    ]
    assert merged_rows(rows, "model") == [
        CostRow("a", "", "", 10, None),
        CostRow("b", "", "", 4, cost),
    ]
