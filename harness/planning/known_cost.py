"""Cost of cells without model or data at hand: from known shapes and sizes.

The same quantities that `cost` counts exactly, from mean lengths: every document has the prompt and
the answers of its task's card. Nothing is loaded or downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import one_of_each_task
from steereval.harness.planning.task_cards import known_card
from steereval.harness.planning.token_cost import Cost
from steereval.models.checkpoints.known_shapes import Shape, known_shape
from steereval.models.steering.positions import Positions
from steereval.tasks.catalogue.cards import TaskSize
from steereval.tasks.contrast.known_sizes import CONTRAST_SIZES
from steereval.tasks.judges.registry import get_judge, scorer_of


def known_size(cell: Cell) -> TaskSize | None:
    """The size of the cell's task by its card, if that is known."""
    return known_card(cell.task).size


def known_cost(group: Sequence[Cell]) -> Cost | None:
    """About what `group` costs; None where its model's shape or a task's size is not known.

    Tasks of one family are taken to ask together what the one that asks most does.
    """
    shape = known_shape(group[0].model.name)
    sizes = {cell.task.name: known_size(cell) for cell in one_of_each_task(group)}
    known = {name: size for name, size in sizes.items() if size is not None}
    return cost_about(group, shape, known) if shape and len(known) == len(sizes) else None


def cost_about(group: Sequence[Cell], shape: Shape, sizes: Mapping[str, TaskSize]) -> Cost:
    """Cost of `group` for a model of that shape and tasks of these sizes, by name."""
    costs = [
        _of_task([c for c in group if c.task == first.task], shape, sizes[first.task.name])
        for first in one_of_each_task(group)
    ]
    alone = sum(costs, Cost())
    most = max(costs, key=lambda cost: cost.flops)
    return replace(most, tokens_unshared=alone.tokens_unshared, flops_alone=alone.flops_alone)


def _of_task(group: Sequence[Cell], shape: Shape, size: TaskSize) -> Cost:
    first = group[0]
    documents = _documents(first, size)
    prompt = size.prompt_tokens * (1 + (first.task.num_fewshot or 0))
    if size.generated:
        return _generating(group, shape, documents, prompt, _longest(first, size))
    return _choosing(group, shape, documents, prompt, size)


def reading_flops(cells: Sequence[Cell]) -> tuple[float, list[str]]:
    """Operations of reading the activations of each model's contrast sets once, and the names of
    sets whose size, or whose model's shape, is not known."""
    pairs = {(c.model.name, c.contrast.name) for c in cells if c.contrast is not None}
    total, unknown = 0.0, list[str]()
    for model, contrast in sorted(pairs):
        shape, size = known_shape(model), CONTRAST_SIZES.get(contrast)
        if shape is None or size is None:
            unknown.append(f"{contrast} by {model}")
        else:
            blocks = shape.blocks * shape.block_flops
            total += size.statements * size.tokens * blocks
    return total, unknown


def judging_flops(cells: Sequence[Cell]) -> tuple[float, list[str]]:
    """Operations of judging every answer once, each with its prompt and as long as it may be; and
    the names of judges whose shape, or whose task's size, is not known.

    Judges without such a model (Perspective's API, the bundled classifier) take no GPU.
    """
    total, unknown = 0.0, dict[str, None]()
    for cell, judge in [(each, judge) for each in cells for judge in each.task.judges]:
        location = judge.model or scorer_of(get_judge(judge.name), judge.scorer).model
        shape, size = known_shape(location), known_size(cell)
        if not location or judge.is_stand_in:
            continue
        if shape is None or size is None:
            unknown[f"{judge.name} on {cell.task.name}"] = None
            continue
        tokens = size.prompt_tokens + _longest(cell, size)
        total += _documents(cell, size) * tokens * shape.blocks * shape.block_flops
    return total, list(unknown)


def _documents(cell: Cell, size: TaskSize) -> int:
    return int(min(cell.task.limit or math.inf, size.documents))


def _longest(cell: Cell, size: TaskSize) -> int:
    """Tokens of a generated answer at most."""
    return int(cell.task.generation.get("max_gen_toks", size.generated))


def _generating(
    group: Sequence[Cell], shape: Shape, documents: int, prompt: int, longest: int
) -> Cost:
    """Prompts are there once for all cells that steer what is generated; answers are not."""
    arms = len(group)
    new = arms * documents * longest
    alone = arms * documents * prompt + new
    fed = alone if _reaching(group) else documents * prompt + new
    return Cost(alone, fed, fed, float(alone * shape.flops), float(fed * shape.flops), new)


def _choosing(
    group: Sequence[Cell], shape: Shape, documents: int, prompt: int, size: TaskSize
) -> Cost:
    """An answer's last token is never fed, so answers of one token are read off the prompt's."""
    arms, rest = len(group), size.answer_tokens - 1
    texts = size.answers if rest else 1
    alone = arms * documents * texts * (prompt + rest)
    tree = prompt + size.answers * rest
    steered = tree if _reaching(group) else 1 + size.answers * rest
    upper = documents * (tree - steered + arms * steered)
    below = _blocks_below(group)
    lower = documents * tree if below else upper
    predicted = arms * documents * (1 + size.answers * rest)
    flops = (
        lower * below * shape.block_flops
        + upper * (shape.blocks - below) * shape.block_flops
        + predicted * shape.output_flops
    )
    return Cost(alone, lower, upper, float(alone * shape.flops), float(flops))


def _reaching(group: Sequence[Cell]) -> bool:
    """Whether a cell steers prompt tokens before the last one."""
    return any(Positions(c.positions).reaches_into_prompt for c in group if c.positions)


def _blocks_below(group: Sequence[Cell]) -> int:
    """How many blocks run once for all cells: those up to the lowest one that is steered."""
    sets = {cell.layer for cell in group if cell.layer}
    if not sets or "all" in sets:
        return 1 if sets else 0
    return 1 + min(int(block) for layers in sets for block in layers.split("+"))
