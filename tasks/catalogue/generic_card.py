"""The card of a task that is not described here, made from lm-eval's own task file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from steereval.common.errors import TaskError
from steereval.tasks.catalogue.card_types import MetricCard, MetricKind, TaskCard

_BINARY = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"})
"""lm-eval's own metrics that are 0 or 1 per document."""
_WIDEST: tuple[MetricKind, ...] = ("continuous", "bounded", "binary")
"""Kinds of metrics; a group's is the first that one of its subtasks has."""
_RATIO = frozenset({"weighted_perplexity", "bits_per_byte"})
"""lm-eval's aggregations of log-likelihoods over numbers of words or bytes."""


def generic_card(name: str, config: Mapping[str, Any], is_published: bool = True) -> TaskCard:
    """Make a card of lm-eval's task file.

    Args:
        name: lm-eval's name of the task.
        config: Content of its file.
        is_published: Whether it is a task of lm-eval, which published figures may be of.

    Raises:
        TaskError: No metric of the task has a value per document.
    """
    metrics = dict(_generic_metrics(config))
    if not metrics:
        raise TaskError(
            f"no metric of task {name!r} has a value per document",
            "Choose a task that lm-eval scores document by document.",
        )
    return TaskCard(
        name=name,
        description=f"lm-eval's task of the kind {_output_type(config)}",
        primary_metric=next(iter(metrics)),
        metrics=metrics,
        role="capability",
        benchmark=name if is_published else None,
    )


def group_card(
    name: str, config: Mapping[str, Any], cards: Mapping[str, TaskCard], is_published: bool = True
) -> TaskCard:
    """Make the card of a group.

    Args:
        name: lm-eval's name of the group.
        config: Content of its file.
        cards: {subtask: its card}.
        is_published: Whether it is a group of lm-eval.

    Returns:
        The card, with the metrics of the group's `aggregate_metric_list`.

    Raises:
        TaskError: None of these metrics has a value per document.
    """
    metrics = dict(_aggregated_metrics(config, cards))
    if not metrics:
        raise TaskError(
            f"no metric that group {name!r} aggregates has a value per document",
            f"Name its subtasks, such as {next(iter(cards))}.",
        )
    return TaskCard(
        name=name,
        description=f"lm-eval's group of {len(cards)} tasks",
        primary_metric=next(iter(metrics)),
        metrics=metrics,
        role="capability",
        cluster="the subtask",
        benchmark=name if is_published else None,
        subtasks=tuple(cards),
    )


def aggregates_of(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The `aggregate_metric_list` of a group's file; empty where lm-eval gives it no score."""
    listed = config.get("aggregate_metric_list") or []
    return [listed] if isinstance(listed, Mapping) else list(listed)


def _aggregated_metrics(
    config: Mapping[str, Any], cards: Mapping[str, TaskCard]
) -> Iterable[tuple[str, MetricCard]]:
    """A group's metrics; the mean of subtasks' ratios is left out."""
    for listed in aggregates_of(config):
        metric = str(listed["metric"])
        members = [card.metrics[metric] for card in cards.values() if metric in card.metrics]
        kinds = {member.kind for member in members}
        if not members or "ratio" in kinds:
            continue
        yield (
            metric,
            MetricCard(
                next(kind for kind in _WIDEST if kind in kinds),
                members[0].higher_is_better,
                not listed.get("weight_by_size", True),
            ),
        )


def _generic_metrics(config: Mapping[str, Any]) -> Iterable[tuple[str, MetricCard]]:
    """The metrics that are means or ratios over documents; F1, BLEU and so on are not."""
    own_scoring = "process_results" in config
    for listed in _listed_metrics(config):
        name = str(listed["metric"]).rpartition(".")[2]
        kind = _kind(name, _aggregation(name, listed), own_scoring)
        if kind is not None:
            yield name, MetricCard(kind, _higher_is_better(name, listed))


def _listed_metrics(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY

    defaults = DEFAULT_METRIC_REGISTRY.get(_output_type(config), [])
    return config.get("metric_list") or [{"metric": name} for name in defaults]


def _output_type(config: Mapping[str, Any]) -> str:
    return str(config.get("output_type", "generate_until"))


def _aggregation(metric: str, listed: Mapping[str, Any]) -> str:
    from lm_eval.api.registry import get_metric_aggregation

    stated = listed.get("aggregation") or get_metric_aggregation(metric)
    return stated if isinstance(stated, str) else getattr(stated, "__name__", "")


def _kind(metric: str, aggregation: str, own_scoring: bool) -> MetricKind | None:
    if aggregation in _RATIO:
        return "ratio"
    if aggregation not in ("mean", "nanmean"):
        return None
    return "binary" if metric in _BINARY and not own_scoring else "continuous"


def _higher_is_better(metric: str, listed: Mapping[str, Any]) -> bool:
    from lm_eval.api.registry import is_higher_better

    stated = listed.get("higher_is_better")
    return bool(is_higher_better(metric) if stated is None else stated)
