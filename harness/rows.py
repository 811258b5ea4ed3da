"""From lm-eval's samples to item rows: one for each item and metric."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lm_eval.utils import handle_non_serializable, hash_string

from steereval.plan import Cell
from steereval.results.samples import item_ids, scores_of
from steereval.tasks.catalogue import TaskCard, categories_of, cluster_of

PERPLEXITY = "perplexity"
"""Metric added to generated text: perplexity under the unsteered model."""


def item_rows(
    cell: Cell,
    described: TaskCard,
    samples: Sequence[dict[str, Any]],
    route: Callable[[Any], int | None],
    task: Any,
) -> Iterator[dict[str, Any]]:
    """One row for each document, filter and metric that has a number and a direction; `route`
    gives the fold of a document. Raises CellError for a score that is not a number."""
    better = directions(described, task)
    categories = categories_of(task)
    for score in scores_of(samples, cell.task.name):
        if score.metric not in better:
            continue
        doc = score.sample["doc"]
        yield cell.summary() | {
            "metric": score.name,
            "higher_is_better": better[score.metric],
            "item_id": score.item_id,
            "cluster_id": cluster_of(described.name, doc, categories),
            "fold": route(doc),
            "value": score.value,
            "weight": score.weight,
        }


def directions(described: TaskCard, task: Any) -> dict[str, bool]:
    """For each metric whether higher is better; a task may give scores that it says nothing of."""
    told = {metric: bool(better) for metric, better in task.higher_is_better().items()}
    return told | {name: known.higher_is_better for name, known in described.metrics.items()}


def doc_hash(document: Any) -> str:
    """The document's hash, as lm-eval's samples give it; an item's id is its first half."""
    text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return str(hash_string(text))


def wants_perplexity(task: Any) -> bool:
    """Whether the task's answers are texts, whose perplexity says what steering did to them."""
    return str(task.OUTPUT_TYPE) == "generate_until"


def generated(samples: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Prompt and first generated text of each sample."""
    return [(str(sample["arguments"][0][0]), _first_response(sample)) for sample in samples]


def perplexity_rows(
    items: Sequence[dict[str, Any]],
    samples: Sequence[dict[str, Any]],
    scores: Sequence[tuple[float, int]],
) -> Iterator[dict[str, Any]]:
    """Perplexity of each generated text, from its log-likelihood and number of tokens.

    An empty text has no tokens and weighs nothing.
    """
    first = {row["item_id"]: row for row in reversed(items)}
    for item_id, (total, tokens) in zip(item_ids(samples), scores, strict=True):
        better = {"metric": PERPLEXITY, "higher_is_better": False}
        yield first[item_id] | better | {"value": -total, "weight": tokens}


def _first_response(sample: dict[str, Any]) -> str:
    response = sample["resps"][0]
    while isinstance(response, (list, tuple)):
        response = response[0]
    return str(response)


def assign_splits(item_ids: Sequence[str], share: float) -> dict[str, str]:
    """`validation` or `test` for each item: the `share` whose hashed ids come first.

    The same for all methods, whatever the order of the items. At least one item stays for the
    test, and with a share above 0 at least one for validation where there are two or more.
    """
    ranked = sorted(set(item_ids), key=lambda item: hashlib.sha256(item.encode()).hexdigest())
    count = min(math.ceil(share * len(ranked)), len(ranked) - 1)
    return {item: "validation" if i < count else "test" for i, item in enumerate(ranked)}


def texts_of(samples: Sequence[dict[str, Any]]) -> list[str]:
    """All distinct prompts, and all answers."""
    prompts = {str(arguments[0]) for sample in samples for arguments in sample["arguments"]}
    answers = [
        str(arguments[1]) if len(arguments) > 1 and isinstance(arguments[1], str) else str(text[0])
        for sample in samples
        for arguments, text in zip(sample["arguments"], sample["resps"], strict=True)
    ]
    return [*prompts, *answers]
