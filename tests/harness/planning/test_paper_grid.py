"""The paper's grid: what it holds, and that it plans without a hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from steereval.harness.config.grid import Grid, load_grid
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import groups
from steereval.harness.planning.known_cost import judging_flops, known_cost, reading_flops
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.preflight import check_metrics
from steereval.harness.planning.task_cards import card_of
from steereval.results.analysis.published import published_rows
from steereval.results.store.manifest import Task
from steereval.tasks.catalogue.cards import card

PAPER = Path(__file__).parents[3] / "examples" / "paper.yaml"
BLOCKS = {
    "tiiuae/falcon-7b": "14",
    "mistralai/Mistral-7B-v0.3": "15",
    "meta-llama/Llama-3.1-8B": "13",
    "Qwen/Qwen2.5-7B": "13",
}
PUBLISHED = ("repe", "iti", "caa", "mimic", "hpr", "re_control", "linact", "truthflow", "odesteer")


@pytest.fixture(scope="module")
def paper() -> Grid:
    return load_grid(PAPER)


@pytest.fixture(scope="module")
def cells(paper: Grid) -> Sequence[Cell]:
    return make_plan(paper)


def test_the_papers_models_methods_and_benchmarks(paper: Grid) -> None:
    assert {model.name: model.layers for model in paper.models} == {
        name: (block,) for name, block in BLOCKS.items()
    }
    assert {method.name for method in paper.methods} >= {"none", *PUBLISHED}
    assert [card(task.name).benchmark for task in paper.tasks] == [
        "truthfulqa", "ultrafeedback", "realtoxicityprompts", "mmlu", "arc_challenge",
        "commonsense_qa"]  # fmt: skip
    contrasts = [(task.contrast or paper.contrast).name for task in paper.tasks]  # type: ignore[union-attr]
    assert contrasts == ["truthfulqa", "ultrafeedback", "jigsaw", *["truthfulqa"] * 3]
    assert [task.role for task in paper.tasks] == ["target"] * 3 + ["capability"] * 3


def test_all_methods_have_equal_budgets(paper: Grid) -> None:
    steered = [method for method in paper.methods if method.name != "none"]
    assert {len(method.strengths) for method in steered} == {5}
    (odesteer,) = (method for method in steered if method.name == "odesteer")
    for low, high in ((20, 23), (3, 4), (4, 6), (13, 16), (48, 48)):  # the paper's T
        assert any(low <= strength <= high for strength in odesteer.strengths)


def test_cells(paper: Grid, cells: Sequence[Cell]) -> None:
    """17 methods of 5 strengths and 5 fits; truthflow not on comments; two repeats a task."""
    assert len(cells) == 4 * (6 * (1 + 17 * 25) - 25) + 4 * 6 * 2 == 10_172
    of_tasks = Counter(cell.task.name for cell in cells if not cell.is_repeat)
    assert of_tasks == {
        task.name: 4 * (1 + (16 if task.name == "realtoxicity" else 17) * 25)
        for task in paper.tasks
    }


def test_published_figures_are_shown_with_its_metrics(paper: Grid) -> None:
    """Beside the metric on which each claim is made, for every model."""
    for task in paper.tasks[:3]:
        described = Task(task.name, "target", None, "m", None, {}, card(task.name).benchmark)
        for model in paper.models:
            assert len(published_rows(described, str(task.metric), model.name)) >= 10


@pytest.mark.slow
def test_the_work_of_all_of_it_is_known(paper: Grid, cells: Sequence[Cell]) -> None:
    """Without a model, a tokenizer, data or a hub."""
    costs = [known_cost(group) for group in groups(cells)]
    assert None not in costs
    generated = sum(cost.generated for cost in costs if cost is not None)
    # 426 cells and two repeats a model on two tasks, 401 and two on the third; 50 tokens each.
    assert generated == 4 * 50 * (428 * 817 + 428 * 500 + 403 * 500)
    for flops, unknown in (reading_flops(cells), judging_flops(cells)):
        assert unknown == []
        assert flops > 0


def test_claims_are_made_on_what_judges_measure(paper: Grid) -> None:
    for task in paper.tasks:
        check_metrics(paper, task.name, task.metric, card_of(paper, task))
    assert [[judge.name for judge in task.judges] for task in paper.tasks] == [
        ["truth", "info"], ["reward"], ["toxicity", "fluency"], [], [], []]  # fmt: skip
