"""From lm-eval's samples to item rows: one for each item and metric."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
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


@dataclass(frozen=True)
class Named:
    """A request as it is stored."""

    key: str
    """Hash of all of it that decides its answer: kind, arguments, document, number."""
    item_id: str
    """Its document's id."""
    number: int
    """Its number among the requests for the document."""


def named(kind: str, requests: Sequence[Instance]) -> list[Named]:
    """Names for `requests` of one kind in their order, from their contents alone.

    A request that stands there several times, for several answers, has one name.
    """
    by_document: dict[int | None, dict[int, Instance]] = {}
    for request in requests:
        by_document.setdefault(request.doc_id, {})[id(request)] = request
    hashes = [doc_hash(next(iter(own.values())).doc) for own in by_document.values()]
    ids = item_ids([{"filter": "", "doc_hash": each} for each in hashes])
    found: dict[int, Named] = {}
    for own, document, item in zip(by_document.values(), hashes, ids, strict=True):
        for number, request in enumerate(sorted(own.values(), key=lambda each: each.idx)):
            content = repr((kind, request.args, document, request.idx))
            key = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
            found[id(request)] = Named(key, item, number)
    return [found[id(request)] for request in requests]


def wants_perplexity(task: Any) -> bool:
    """Whether the task's answers are texts, whose perplexity says what steering did to them."""
    return str(task.OUTPUT_TYPE) == "generate_until"


def perplexity_rows(
    items: Sequence[dict[str, Any]], scores: Mapping[str, tuple[float, int]]
) -> Iterator[dict[str, Any]]:
    """Perplexity of each item's generated text, from its log-likelihood and number of tokens.

    An empty text has no tokens and weighs nothing.
    """
    first = {row["item_id"]: row for row in reversed(items)}
    for item_id, (total, tokens) in scores.items():
        better = {"metric": PERPLEXITY, "higher_is_better": False}
        yield first[item_id] | better | {"value": -total, "weight": tokens}


def assign_splits(item_ids: Sequence[str], share: float) -> dict[str, str]:
    """`validation` or `test` for each item: the `share` whose hashed ids come first.

    The same for all methods, whatever the order of the items. At least one item stays for the
    test, and with a share above 0 at least one for validation where there are two or more.
    """
    ranked = sorted(set(item_ids), key=lambda item: hashlib.sha256(item.encode()).hexdigest())
    count = min(math.ceil(share * len(ranked)), len(ranked) - 1)
    return {item: "validation" if i < count else "test" for i, item in enumerate(ranked)}
