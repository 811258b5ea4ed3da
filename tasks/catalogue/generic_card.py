"""The card of a task that is not described here, made from lm-eval's own task file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from steereval.common.errors import TaskError
from steereval.tasks.catalogue.card_types import MetricCard, MetricKind, TaskCard

_BINARY = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"})
"""lm-eval's own metrics that are 0 or 1 per document."""
_RATIO = frozenset({"weighted_perplexity", "bits_per_byte"})
"""lm-eval's aggregations of log-likelihoods over numbers of words or bytes."""


def generic_card(name: str, config: Mapping[str, Any]) -> TaskCard:
    """Make a card of lm-eval's task file.

    Args:
        name: lm-eval's name of the task.
        config: Content of its file.

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
        benchmark=name,
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
