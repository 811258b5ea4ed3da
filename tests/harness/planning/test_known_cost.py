"""A plan without model, data or hub: arithmetic by hand, and the exact count beside it."""

from __future__ import annotations

from typing import Any

import pytest
from small_tokenizer import VOCABULARY

from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.estimate.cost import Counter
from steereval.harness.estimate.cost_outlook import cost_outlook
from steereval.harness.estimate.gpu_hours import BANDWIDTH, RATE, Seconds, seconds_of
from steereval.harness.estimate.task_outlook import TaskOutlook, task_outlooks
from steereval.harness.planning import known_cost as rough
from steereval.harness.planning.groups import groups
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.planning.token_cost import Cost
from steereval.models.checkpoints.known_shapes import Shape
from steereval.tasks.catalogue.cards import TaskSize
from steereval.tasks.contrast.known_sizes import ContrastSize
from steereval.tasks.data import hub

SMALL = Shape(blocks=4, width=10, vocabulary=20, block_parameters=100)  # 4 x 200 + 400 a token
METHODS = ["none", {"name": "caa", "strengths": [1, 3]}]


def grid(task: dict[str, Any], **changes: Any) -> Grid:
    data: dict[str, Any] = {
        "name": "g",
        "models": [{"name": "org/small", "layers": [1]}],
        "contrast": {"name": "truthfulqa", "fraction": 0.5},
        "methods": METHODS,
        "tasks": [task],
    }
    return parse_grid(data | changes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rough, "known_shape", lambda name: SMALL if "small" in name else None)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    monkeypatch.delenv("STEEREVAL_DATA", raising=False)


def cost_of(given: Grid) -> Cost:
    (group,) = groups(make_plan(given))
    cost = rough.known_cost(group)
    assert cost is not None
    return cost


def test_choices_of_several_tokens(small: None) -> None:
    """ARC: prompts of 30 tokens, four answers of 6, of which the last is never fed; three cells."""
    cost = cost_of(grid({"name": "arc_challenge", "limit": 10}))
    assert cost.tokens_unshared == 3 * 10 * 4 * (30 + 5)
    assert cost.below == 10 * (30 + 4 * 5)
    assert cost.above == 10 * (29 + 3 * (1 + 4 * 5))
    assert cost.flops_alone == 4200 * 1200
    # Blocks 0 and 1 run once, blocks 2 and 3 for each cell from the prompt's last token on.
    assert cost.flops == 500 * 2 * 200 + 920 * 2 * 200 + 3 * 10 * 21 * 400
    assert cost.generated == 0


def test_choices_of_one_token(small: None) -> None:
    """MMLU's letters are read off the prompt's last token, by lm-eval's own model too."""
    cost = cost_of(grid({"name": "mmlu_all", "limit": 10}))
    assert cost.tokens_unshared == 3 * 10 * 110
    assert (cost.below, cost.above) == (10 * 110, 10 * (109 + 3))


def test_generation(small: None) -> None:
    cost = cost_of(grid({"name": "truthfulqa_open", "limit": 10}))
    assert cost.generated == 3 * 10 * 50
    assert cost.tokens_unshared == 3 * 10 * 18 + 1500
    assert cost.below == cost.above == 10 * 18 + 1500
    assert (cost.flops_alone, cost.flops) == (2040 * 1200, 1680 * 1200)


def test_the_whole_task_and_other_options(small: None) -> None:
    assert cost_of(grid({"name": "ultrafeedback"})).generated == 3 * 500 * 50
    short = {"name": "ultrafeedback", "generation": {"max_gen_toks": 7}}
    assert cost_of(grid(short)).generated == 3 * 500 * 7
    shots = cost_of(grid({"name": "mmlu_all", "limit": 10, "num_fewshot": 2}))
    assert shots.tokens_unshared == 3 * 10 * 110 * 3


def test_steered_prompts_are_not_shared(small: None) -> None:
    cost = cost_of(grid({"name": "truthfulqa_open", "limit": 10}, positions="all"))
    assert cost.above == cost.tokens_unshared
    cost = cost_of(grid({"name": "arc_challenge", "limit": 10}, positions="all"))
    assert (cost.below, cost.above) == (10 * 50, 3 * 10 * 50)


@pytest.mark.parametrize("model", ["org/unheard-of", "org/small"])
def test_what_is_not_known(small: None, model: str) -> None:
    task = "truthful_mini_mc" if "small" in model else "mmlu_all"
    given = grid({"name": task}, models=[{"name": model, "layers": [1]}])
    assert rough.known_cost(groups(make_plan(given))[0]) is None


@pytest.mark.slow
@pytest.mark.parametrize("task", ["truthful_mini_mc", "truthful_mini_gen"])
def test_agrees_with_the_exact_count(
    task: str, tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the shape and the mean lengths of a model and task at hand both agree."""
    block = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 48 + 2 * 32
    shape = Shape(3, 32, VOCABULARY, block)
    given = grid(
        {"name": task, "limit": 40},
        models=[{"name": tiny_folder, "layers": [1]}],
        contrast="truthful-mini",
        methods=["none", {"name": "caa", "strengths": [1, 2, 3]}],
    )
    resources = TaskResources(None)
    (group,) = groups(make_plan(given))
    exact = Counter(resources, 64).count(group)
    size = measured(resources.task(group[0]), tiny_folder)
    monkeypatch.setattr(rough, "known_shape", lambda name: shape)
    monkeypatch.setattr(rough, "known_size", lambda cell: size)
    result = rough.known_cost(group)
    assert result is not None
    for name in ("tokens_unshared", "below", "above", "flops_alone", "flops", "generated"):
        assert getattr(result, name) == pytest.approx(getattr(exact, name), rel=0.12), name


def measured(task: Any, folder: str) -> TaskSize:
    """Mean lengths of the first 40 documents in tokens, rounded as in a card."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    docs = list(task.eval_docs)[:40]
    prompts = [len(tokenizer(task.doc_to_text(doc)).input_ids) for doc in docs]
    prompt = round(sum(prompts) / len(docs))
    if str(task.OUTPUT_TYPE) == "generate_until":
        return TaskSize(40, prompt, generated=50)
    answers = [f" {text}" for doc in docs for text in task.doc_to_choice(doc)]
    tokens = [len(tokenizer(text).input_ids) for text in answers]
    return TaskSize(40, prompt, round(len(answers) / len(docs)), round(sum(tokens) / len(answers)))


def test_contrast_sets_are_read_once_by_each_model(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"truthfulqa": ContrastSize(100, 20)}
    monkeypatch.setattr(rough, "CONTRAST_SIZES", sizes)
    models = [{"name": f"org/small-{n}", "layers": [1, 2]} for n in (1, 2)]
    tasks = ["mmlu_all", {"name": "arc_challenge", "contrast": "jigsaw"}]
    cells = make_plan(grid({}, models=models, tasks=tasks, seeds={"fit": [0, 1]}))
    flops, unknown = rough.reading_flops(cells)
    assert flops == 2 * 100 * 20 * 4 * 200
    assert unknown == ["jigsaw by org/small-1", "jigsaw by org/small-2"]


def test_judges(small: None) -> None:
    """Each answer of each cell is read once by each judge that is a model of a known shape."""
    judged = {"name": "truthfulqa_open", "limit": 10}
    small_judges = [{"name": "truth", "model": "org/small"}, {"name": "info", "model": "big"}]
    others = [{"name": "toxicity", "scorer": "profanity"}, {"name": "reward", "model": "stand-in"}]
    cells = make_plan(grid({**judged, "judges": [*small_judges, *others]}))
    flops, unknown = rough.judging_flops(cells)
    assert flops == 3 * 10 * (18 + 50) * 4 * 200
    assert unknown == ["info on truthfulqa_open"]
    assert rough.judging_flops(make_plan(grid(judged))) == (0.0, [])


def test_hours_by_hand() -> None:
    """A model of 8.03 billion weights: 16.06 GFLOP a token, 115 steps a second."""
    whole = 2 * 8.03e9
    read = Cost(tokens_unshared=1000, flops_alone=1000 * whole, flops=100 * whole)
    assert pytest.approx(124.8e12) == RATE
    assert pytest.approx(115 * whole) == BANDWIDTH
    seconds = seconds_of(read, 32)
    assert seconds is not None
    assert seconds.alone == pytest.approx(1000 * whole / RATE)
    assert seconds.together == pytest.approx(100 * whole / RATE)
    assert seconds.generating == 0
    # 320 tokens in batches of 32 are ten steps, of which each reads all weights.
    written = Cost(tokens_unshared=420, flops_alone=420 * whole, flops=330 * whole, generated=320)
    seconds = seconds_of(written, 32)
    assert seconds is not None
    assert seconds.generating == pytest.approx(10 / 115)
    assert seconds.alone == pytest.approx(10 / 115 + 100 * whole / RATE)
    assert seconds.together == pytest.approx(10 / 115 + 10 * whole / RATE)


def test_a_large_batch_computes_longer_than_it_reads() -> None:
    whole = 2 * 8.03e9
    cost = Cost(tokens_unshared=1000, flops_alone=1000 * whole, flops=1000 * whole, generated=1000)
    seconds = seconds_of(cost, 1000)
    assert seconds is not None
    assert seconds.generating == pytest.approx(1000 * whole / RATE)
    assert seconds.generating > 1 / 115


def test_small_models_have_no_hours() -> None:
    assert seconds_of(Cost(tokens_unshared=10, flops_alone=10 * 1.9e9, flops=1.0), 32) is None
    assert seconds_of(Cost(), 32) is None
    assert Seconds(1, 2, 3) + Seconds(10, 20, 30) == Seconds(11, 22, 33)


@pytest.mark.parametrize(
    ("limit", "fits", "strengths", "warned"),
    [
        (6, [0], [1], True),
        (8, [0], [1], False),
        (8, [0], [1, 2, 3, 4], True),
        (6, [0, 1], [1], False),
    ],
)
def test_a_plan_in_which_nothing_could_be_significant(
    limit: int, fits: list[int], strengths: list[float], warned: bool
) -> None:
    """With one fit seed the least p-value of the five categories of the first six questions is
    2^-4 = 0.062, that of the seven of the first eight 2^-6 = 0.016: enough for three tests."""
    tasks = [{"name": "truthful_mini_mc", "limit": limit}]
    methods = ["none", *({"name": "caa", "strengths": [s], "label": f"m{s}"} for s in strengths)]
    given = grid({}, tasks=tasks, seeds={"fit": fits}, methods=methods)
    (outlook,) = task_outlooks(given, make_plan(given), TaskResources(None))
    assert isinstance(outlook, TaskOutlook)
    assert (outlook.out_of_reach is not None) == warned


def test_a_plan_without_a_hub(no_hub: None) -> None:
    models = [{"name": "meta-llama/Llama-3.1-8B", "layers": [13], "dtype": "bfloat16"}]
    tasks = ["truthfulqa_open", {"name": "arc_challenge", "limit": 100}]
    given = grid({}, models=models, tasks=tasks, seeds={"fit": [0, 1, 2]})
    cells, resources = make_plan(given), TaskResources(None)
    first, second = task_outlooks(given, cells, resources)
    assert isinstance(first, TaskOutlook)
    assert isinstance(second, TaskOutlook)
    assert (first.items, first.validation, first.is_counted) == (817, 0, False)
    assert first.detectable == pytest.approx(0.0438, abs=1e-4)
    assert (second.name, second.items) == ("arc_challenge", 100)
    outlook = cost_outlook(given, cells, resources)
    whole = 2 * (32 * 218112000 + 128256 * 4096)
    # One cell unsteered, two strengths with three fits each.
    alone = 7 * (817 * (18 + 50) + 100 * 4 * 35)
    written = 7 * 817 * 50
    seconds = (alone - written) * whole / RATE + written / 32 * whole / BANDWIDTH
    assert outlook.seconds.alone == pytest.approx(seconds, rel=1e-3)
    reading = 6204 * 29 * 64 * 218112000 / RATE
    assert outlook.fitting.seconds == pytest.approx(reading, rel=1e-3)
    assert (outlook.groups, outlook.estimated) == (2, 2)


def test_a_model_that_is_missing_is_requested_once(
    small: None, monkeypatch: pytest.MonkeyPatch, no_hub: None
) -> None:
    """Each time it may take seconds until that is known."""
    calls = []
    count = Counter.count

    def counted(self: Counter, group: Any) -> Cost:
        calls.append(group)
        return count(self, group)

    monkeypatch.setattr(Counter, "count", counted)
    tasks = ["mmlu_all", "arc_challenge", "commonsense_qa"]
    given = grid({}, tasks=tasks, seeds={"fit": list(range(20))})
    cells = make_plan(given)
    assert len(groups(cells)) == 9
    outlook = cost_outlook(given, cells, TaskResources(None))
    assert len(calls) == 1
    assert (outlook.groups, outlook.estimated) == (9, 9)
    assert len(outlook.reasons) == 1
