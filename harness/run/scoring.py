"""From answers to the tables of a cell, by lm-eval's own scoring; no model takes part."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from steereval.common.errors import CellError, ScoringError, SteerEvalError
from steereval.common.text import first_line
from steereval.harness.engine.replay import Asked, OtherRequests, Replay, evaluated
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.task_cards import claimed, known_card
from steereval.harness.run.answered import Answered
from steereval.harness.run.item_rows import (
    assign_splits,
    contents,
    directions,
    item_rows,
    perplexity_rows,
)
from steereval.harness.run.lost_items import without_lost
from steereval.results.lm_eval.samples import response_rows, without_direction, without_numbers
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA

Tables = tuple[pa.Table, pa.Table, dict[str, Any]]
"""Item rows, responses, and what the record says of both."""


def samples_of(answered: Answered, cell: Cell, task: Any) -> list[dict[str, Any]]:
    """Evaluate a cell on its answers.

    Args:
        answered: What was answered of its group.
        cell: The cell.
        task: lm-eval's task of the cell.

    Returns:
        lm-eval's samples, one for each document and filter.

    Raises:
        Asked: The task wants more than is answered.
        OtherRequests: The task asks for something else than what was answered.
        ScoringError: The scoring fails. What fails before it has its answers is raised as it is.
    """
    replay = Replay(answered.response_log(cell), answered.chats)
    try:
        return without_lost(evaluated(replay, task, cell), answered.lost_of(cell))
    except (Asked, OtherRequests):
        raise
    except Exception as error:
        if not replay.given:
            raise
        raise scoring_error(cell, error) from error


def tables_of(answered: Answered, cell: Cell, task: Any, samples: list[dict[str, Any]]) -> Tables:
    """Make the tables of a cell.

    Args:
        answered: What was answered of its group.
        cell: The cell.
        task: lm-eval's task of the cell.
        samples: lm-eval's samples of the cell.

    Returns:
        Item rows, responses, and the part of the record that describes both.

    Raises:
        ScoringError: No rows can be made of the samples.
    """
    try:
        return _tables(answered, cell, task, samples)
    except Exception as error:
        raise scoring_error(cell, error) from error


def scoring_error(cell: Cell, error: Exception) -> ScoringError:
    """`error`, which came up while the answers of `cell` were scored, as one of this program."""
    if isinstance(error, ScoringError):
        return error
    if isinstance(error, OtherRequests):
        return ScoringError(
            "the task asks for other requests when it is evaluated again",
            "Its prompts must not depend on chance or on the time.",
        )
    if isinstance(error, SteerEvalError):
        return ScoringError(error.problem, error.remedy)
    return ScoringError(
        f"{cell} was answered, but its scoring failed with {type(error).__name__}: "
        f"{first_line(error)}",
        "Mend the task's scoring and start the run again: the answers are kept and are scored "
        "without the model. The traceback is in the cell's record.",
    )


def _tables(answered: Answered, cell: Cell, task: Any, samples: list[dict[str, Any]]) -> Tables:
    answered.check_steered(cell)
    lost = answered.lost_of(cell)
    if lost and not samples:
        reason = next(iter(lost.values()))
        raise CellError(f"all {len(lost)} items of {cell} are lost: {reason}", "Check the task.")
    described = known_card(cell.task)
    items = list(item_rows(cell, described, samples, lambda _: None, task))
    items += perplexity_rows(items, answered.perplexities(cell))
    items = [row for row in items if row["metric"] not in claimed(cell.task)]
    if not items:
        raise CellError(f"{cell} scored no items", "Check the task's data and limit.")
    folds = answered.folds(cell)
    scored = [row["item_id"] for row in items]
    splits = assign_splits(scored, cell.validation_share, contents(samples, task))
    for row in items:
        row |= {"fold": folds[row["item_id"]], "split": splits[row["item_id"]]}
    responses = list(response_rows(cell.id, cell.task.name, samples))
    facts = {
        "lost": dict(answered.lost_of(cell)),
        "displacement": answered.displacement(cell),
        "metrics_without_numbers": without_numbers(samples),
        "metrics_without_direction": without_direction(samples, directions(described, task)),
    }
    return (
        pa.Table.from_pylist(items, schema=ITEM_SCHEMA),
        pa.Table.from_pylist(responses, schema=RESPONSE_SCHEMA),
        facts,
    )
