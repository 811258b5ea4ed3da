"""Cards of tasks: metrics, sizes, and the unit above a task's documents."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from steereval.common.errors import TaskError
from steereval.tasks.catalogue.card_types import MetricCard, MetricKind, Role, TaskCard, TaskSize
from steereval.tasks.catalogue.generic_card import aggregates_of, generic_card, group_card
from steereval.tasks.catalogue.index import expanded_names, leaf_configs, task_config
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
    "expanded_tasks",
    "list_tasks",
    "load_tasks",
]


def list_tasks() -> tuple[TaskCard, ...]:
    """The cards of the tasks described here; every other task of lm-eval can be run too."""
    return WRITTEN_CARDS


@cache
def card(name: str, include_hash: str = "") -> TaskCard:
    """The card of any task or group: one written here, or one made from lm-eval's own task file.

    A made card has the role `capability`, and takes the first metric as primary; subtasks are the
    clusters of a group, and other tasks have none. Metrics that are no mean or ratio over documents
    (F1, BLEU, perplexity per document) are left out. A mean is `continuous` unless lm-eval computes
    it itself as 0 or 1. Nothing is downloaded.

    Args:
        name: lm-eval's name.
        include_hash: Hash of the `include_path` that it comes from; empty for lm-eval's and ours.

    Raises:
        UnknownNameError: There is no such name.
        TaskError: No metric has a value per document, or it is a tag or a group without a score of
            its own, which `expanded_tasks` replaces by their members.
    """
    written = {card.name: card for card in WRITTEN_CARDS}
    if not include_hash and name in written:
        return written[name]
    leaves = leaf_configs(name, include_hash)
    if leaves is None:
        return generic_card(name, task_config(name, include_hash), not include_hash)
    config = task_config(name, include_hash)
    if not aggregates_of(config):
        raise TaskError(
            f"{name!r} is a tag or a group without a score of its own",
            f"Name its tasks, such as {next(iter(leaves))}.",
        )
    known = {} if include_hash else written
    cards = {
        leaf: known.get(leaf) or _leaf_card(leaf, included) for leaf, included in leaves.items()
    }
    return group_card(name, config, cards, not include_hash)


def _leaf_card(name: str, config: Mapping[str, Any]) -> TaskCard:
    try:
        return generic_card(name, config)
    except TaskError:
        # The group may aggregate the metrics of the others.
        return TaskCard(name, "", "", {}, "capability")


def expanded_tasks(name: str, include_hash: str = "") -> tuple[str, ...]:
    """Tasks that a name in a grid stands for, as names that have a card each.

    A tag and a group without a score of its own stand for their members; a task, and a group that
    lm-eval aggregates, for itself.

    Raises:
        UnknownNameError: There is no such name.
    """
    if not include_hash and any(name == each.name for each in WRITTEN_CARDS):
        return (name,)
    return tuple(dict.fromkeys(expanded_names(name, include_hash, aggregates_of)))


def family_of(name: str, include_hash: str = "") -> str:
    """The family of a task; its own name where it asks like no other."""
    if include_hash:
        return name
    families = {card.name: card.family for card in WRITTEN_CARDS}
    return families.get(name) or name


def cluster_of(
    task_name: str, doc: Mapping[str, Any], categories: Mapping[str, str] | None = None
) -> str | None:
    """The cluster of a document; None where the task has no clusters or this one's is not known.

    It is the document's own field, or else looked up in `categories` by its `question_key`.
    """
    return cluster_in(card(task_name), doc, categories)


def cluster_in(
    described: TaskCard, doc: Mapping[str, Any], categories: Mapping[str, str] | None = None
) -> str | None:
    """`cluster_of` by the card of the task."""
    if described.cluster_field is None:
        return None
    cluster = doc.get(described.cluster_field)
    if cluster or described.question_field is None:
        return cluster or None
    return (categories or {}).get(question_key(doc[described.question_field]))
