"""Cards of tasks: metrics, sizes, and the unit above a task's documents."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from steereval.tasks.catalogue.card_types import MetricCard, MetricKind, Role, TaskCard, TaskSize
from steereval.tasks.catalogue.generic_card import generic_card
from steereval.tasks.catalogue.index import task_config
from steereval.tasks.catalogue.loading import categories_of, load_tasks
from steereval.tasks.catalogue.written_cards import WRITTEN_CARDS
from steereval.tasks.data.keys import question_key

__all__ = [
    "MetricCard",
    "MetricKind",
    "Role",
    "TaskCard",
    "TaskSize",
    "card",
    "categories_of",
    "cluster_of",
    "list_tasks",
    "load_tasks",
]


def list_tasks() -> tuple[TaskCard, ...]:
    """The cards of the tasks described here; every other task of lm-eval can be run too."""
    return WRITTEN_CARDS


@cache
def card(name: str) -> TaskCard:
    """The card of any task: one written here, or one made from lm-eval's own task file.

    A made card has the role `capability` and no clusters, and takes the first metric as primary.
    Metrics that are no mean or ratio over documents (F1, BLEU, perplexity per document) are left
    out. A mean is `continuous` unless lm-eval computes it itself as 0 or 1. Nothing is downloaded.

    Raises UnknownNameError for a name that is none, and TaskError for a group, or when no metric
    of the task has a value per document.
    """
    written = {card.name: card for card in WRITTEN_CARDS}
    return written[name] if name in written else generic_card(name, task_config(name))


def family_of(name: str) -> str:
    """The family of a task; its own name where it asks like no other."""
    families = {card.name: card.family for card in WRITTEN_CARDS}
    return families.get(name) or name


def cluster_of(
    task_name: str, doc: Mapping[str, Any], categories: Mapping[str, str] | None = None
) -> str | None:
    """The cluster of a document; None where the task has no clusters or this one's is not known.

    It is the document's own field, or else looked up in `categories` by its `question_key`.
    """
    described = card(task_name)
    if described.cluster_field is None:
        return None
    cluster = doc.get(described.cluster_field)
    if cluster or described.question_field is None:
        return cluster or None
    return (categories or {}).get(question_key(doc[described.question_field]))
