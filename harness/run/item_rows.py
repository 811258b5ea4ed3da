"""From lm-eval's samples to item rows: one for each item and metric."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from steereval.harness.planning.cell import Cell
from steereval.results.analysis.duplicates import clusters_with_twins, content_of, twins
from steereval.results.lm_eval.samples import SUBTASK, item_ids, scores_of
from steereval.tasks.catalogue.cards import TaskCard, categories_of, cluster_in
from steereval.tasks.catalogue.task_group import generates, subtask_of
from steereval.tasks.data.document_hash import doc_hash

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
    gives the fold of a document. Documents that ask the same are in one cluster. Raises CellError
    for a score that is not a number."""
    better = directions(described, task)
    clusters = _clusters(described, samples, task)
    for score in scores_of(samples, cell.task.name):
        if score.metric not in better:
            continue
        doc = score.sample["doc"]
        yield cell.summary() | {
            "metric": score.name,
            "higher_is_better": better[score.metric],
            "item_id": score.item_id,
            "cluster_id": clusters[score.item_id],
            "fold": route(doc),
            "value": score.value,
            "weight": score.weight,
        }


def _clusters(
    described: TaskCard, samples: Sequence[dict[str, Any]], task: Any
) -> dict[str, str | None]:
    categories = categories_of(task)
    cluster_of_item = {
        item: sample.get(SUBTASK) or cluster_in(described, sample["doc"], categories)
        for item, sample in zip(item_ids(samples), samples, strict=True)
    }
    names = clusters_with_twins(
        list(cluster_of_item), contents(samples, task), list(cluster_of_item.values())
    )
    return dict(zip(cluster_of_item, names, strict=True))


def contents(samples: Sequence[dict[str, Any]], task: Any) -> dict[str, str]:
    """{item: digest of what it asks}, without few-shot examples, which differ between documents."""
    return {
        item: content_of(_asked(sample, task))
        for item, sample in zip(item_ids(samples), samples, strict=True)
        if sample.get("arguments")
    }


def _asked(sample: dict[str, Any], task: Any) -> Iterator[tuple[str, str]]:
    """(prompt, text to be scored) of each request of a document."""
    asking = subtask_of(task, sample.get(SUBTASK))
    question = asking.doc_to_text(sample["doc"]) if asking.config.num_fewshot else None
    for prompt, *rest in sample["arguments"]:
        is_known = isinstance(question, str) and question.strip() and question in str(prompt)
        scored = rest[0] if rest and isinstance(rest[0], str) else ""
        yield str(question if is_known else prompt), scored


def directions(described: TaskCard, task: Any) -> dict[str, bool]:
    """For each metric whether higher is better; a task may give scores that it says nothing of."""
    stated = {metric: bool(better) for metric, better in task.higher_is_better().items()}
    return stated | {name: known.higher_is_better for name, known in described.metrics.items()}


@dataclass(frozen=True)
class Named:
    """A request as it is stored."""

    key: str
    """Hash of all of it that decides its answer: kind, arguments, document, number."""
    item_id: str
    """Its document's id."""
    number: int
    """Its number among the requests for the document."""


def named(kind: str, requests: Sequence[Instance], subtasks: Collection[str] = ()) -> list[Named]:
    """Names for `requests` of one kind in their order, from their contents alone.

    A request that stands there several times, for several answers, has one name.

    Args:
        kind: lm-eval's name of the request type.
        requests: Requests of one task.
        subtasks: The subtasks of a group that makes them.
    """
    by_document: dict[tuple[str, int | None], dict[int, Instance]] = {}
    for request in requests:
        subtask = str(request.task_name) if request.task_name in subtasks else ""
        by_document.setdefault((subtask, request.doc_id), {})[id(request)] = request
    samples = [
        {"filter": "", SUBTASK: subtask, "doc_hash": doc_hash(next(iter(each.values())).doc)}
        for (subtask, _), each in by_document.items()
    ]
    name_of: dict[int, Named] = {}
    for document_requests, sample, item in zip(
        by_document.values(), samples, item_ids(samples), strict=True
    ):
        document = sample["doc_hash"]
        for number, request in enumerate(
            sorted(document_requests.values(), key=lambda each: each.idx)
        ):
            content = repr((kind, request.args, document, request.idx))
            key = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
            name_of[id(request)] = Named(key, item, number)
    return [name_of[id(request)] for request in requests]


def wants_perplexity(task: Any) -> bool:
    """Whether the task's answers are texts, whose perplexity says what steering did to them."""
    return generates(task)


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


def assign_splits(
    item_ids: Sequence[str], share: float, contents: Mapping[str, str] | None = None
) -> dict[str, str]:
    """`validation` or `test` for each item: the `share` whose hashed ids come first.

    The same for all methods and for any order of the items. Items that ask the same, by
    `contents`, stay together: a strength that was chosen on one would be tested on its twin. At
    least one item stays for the test, and with a share above 0 at least one for validation where
    there are two or more that differ.
    """
    items = sorted(set(item_ids))
    groups: dict[int, list[str]] = {}
    for item, code in zip(items, twins(items, contents or {}), strict=True):
        groups.setdefault(int(code), []).append(item)
    ranked = sorted(
        groups.values(), key=lambda group: hashlib.sha256(group[0].encode()).hexdigest()
    )
    wanted, splits = math.ceil(share * len(items)), dict.fromkeys(items, "test")
    for group in ranked[:-1]:
        if wanted <= 0:
            break
        splits |= dict.fromkeys(group, "validation")
        wanted -= len(group)
    return splits
