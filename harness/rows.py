"""From lm-eval's samples to rows: a row for each item and metric, and one for each response."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from steereval.errors import CellError
from steereval.plan import Cell
from steereval.tasks.catalogue import TaskCard, cluster_of

PERPLEXITY = "perplexity"
"""Metric added to generated text: perplexity under the unsteered model."""


def item_rows(
    cell: Cell,
    described: TaskCard,
    samples: Sequence[dict[str, Any]],
    route: Callable[[Any], int | None],
    task: Any,
) -> Iterator[dict[str, Any]]:
    """One row for each document, filter and metric that has a number; `route` gives the fold of
    a document. Raises CellError for a score that is not a number."""
    filters = {sample["filter"] for sample in samples}
    better = task.higher_is_better()
    names = item_ids(samples)
    for sample, item_id in zip(samples, names, strict=True):
        for metric in sample["metrics"]:
            number = as_number(sample[metric])
            if number is None:
                continue
            if math.isnan(number[0]):
                raise CellError(
                    f"{metric} of document {sample['doc_id']} in {cell.task.name} is not a number",
                    "Check the task's scoring on an empty or broken answer.",
                )
            known = described.metrics.get(metric)
            value, weight = number
            yield cell.summary() | {
                "metric": metric if len(filters) == 1 else f"{metric}:{sample['filter']}",
                "higher_is_better": known.higher_is_better if known else bool(better[metric]),
                "item_id": item_id,
                "cluster_id": cluster_of(described.name, sample["doc"]),
                "fold": route(sample["doc"]),
                "value": value,
                "weight": weight,
            }


def item_ids(samples: Sequence[dict[str, Any]]) -> list[str]:
    """An id for each sample, from its document alone: the same under every method."""
    seen: Counter[tuple[str, str]] = Counter()
    ids = []
    for sample in samples:
        digest = str(sample["doc_hash"])[:16]
        occurrence = seen[sample["filter"], digest]
        seen[sample["filter"], digest] += 1
        ids.append(digest if occurrence == 0 else f"{digest}-{occurrence + 1}")
    return ids


def as_number(value: Any) -> tuple[float, float] | None:
    """(value, weight) of a score; a (log-likelihood, count) pair becomes a ratio's parts.

    None for a score that is no number of the document's own, such as a part of a corpus score.
    """
    if isinstance(value, (tuple, list)) and len(value) == 2:
        total, count = value
        return -float(total), float(count)
    if isinstance(value, (bool, int, float)) or hasattr(value, "item"):
        return float(value), 1.0
    return None


def without_numbers(samples: Sequence[dict[str, Any]]) -> list[str]:
    """Metrics that gave no rows, since a document has no number of its own in them."""
    return sorted({m for s in samples for m in s["metrics"] if as_number(s[m]) is None})


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


def response_rows(cell: Cell, samples: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the model was asked and what it answered, once for each request."""
    filters = samples[0]["filter"] if samples else ""
    chosen = [sample for sample in samples if sample["filter"] == filters]
    for sample, item_id in zip(chosen, item_ids(chosen), strict=True):
        for index, (arguments, answers) in enumerate(
            zip(sample["arguments"], sample["resps"], strict=True)
        ):
            yield {
                "cell_id": cell.id,
                "task": cell.task.name,
                "item_id": item_id,
                "request": index,
                "prompt_hash": hashlib.sha256(str(arguments[0]).encode()).hexdigest()[:16],
                "prompt": str(arguments[0]),
            } | _answer(arguments, answers[0])


def _answer(arguments: Sequence[Any], answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"kind": "generation", "continuation": answer}
    if isinstance(answer, (tuple, list)):
        value, greedy = answer
    else:
        value, greedy = answer, None
    continuation = str(arguments[1]) if len(arguments) > 1 else ""
    return {
        "kind": "loglikelihood",
        "continuation": continuation,
        "log_likelihood": float(value),
        "is_greedy": greedy,
    }


def texts_of(samples: Sequence[dict[str, Any]]) -> list[str]:
    """All distinct prompts, and all answers."""
    prompts = {str(arguments[0]) for sample in samples for arguments in sample["arguments"]}
    answers = [
        str(arguments[1]) if len(arguments) > 1 and isinstance(arguments[1], str) else str(text[0])
        for sample in samples
        for arguments, text in zip(sample["arguments"], sample["resps"], strict=True)
    ]
    return [*prompts, *answers]
