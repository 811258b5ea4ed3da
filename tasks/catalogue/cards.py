"""What there is to measure: a card for each task, and the unit above its documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from steereval.common.errors import TaskError
from steereval.tasks.catalogue.index import task_config
from steereval.tasks.catalogue.loading import categories_of, load_tasks
from steereval.tasks.data.keys import question_key

__all__ = [
    "MetricCard",
    "MetricKind",
    "TaskCard",
    "TaskSize",
    "card",
    "categories_of",
    "cluster_of",
    "list_tasks",
    "load_tasks",
]

MetricKind = Literal["binary", "bounded", "continuous", "ratio"]
Role = Literal["target", "capability"]


@dataclass(frozen=True)
class MetricCard:
    """What the values of a metric are, one value per document."""

    kind: MetricKind
    """binary: 0 or 1; bounded: in [0, 1]; continuous: any number; ratio: a sum over a weight."""
    higher_is_better: bool
    """Which way is better."""


@dataclass(frozen=True)
class TaskSize:
    """About how much a task asks, for a plan where its data or a tokenizer are not at hand.

    Tokens are means over documents. Those of TruthfulQA were counted (SmolLM2's tokenizer); the
    others are rounded from the lengths of the texts.
    """

    documents: int
    """How many there are."""
    prompt_tokens: int
    """Of a prompt without few-shot examples."""
    answers: int = 0
    """How many answers of a document are scored; 0 where it generates."""
    answer_tokens: int = 0
    """Of an answer that is scored."""
    generated: int = 0
    """Of a generated answer at most."""


@dataclass(frozen=True)
class TaskCard:
    """What the statistics need to know of a task before it is run. The unit is the document."""

    name: str
    """lm-eval's name for it."""
    description: str
    """One line."""
    primary_metric: str
    """The metric that a claim is made on, unless the user names another one."""
    metrics: Mapping[str, MetricCard]
    """All metrics that have a value per document."""
    role: Role
    """Whether steering is meant to improve it, or must not harm it; the user may say otherwise."""
    cluster: str | None = None
    """What documents are clustered by, in words; None where they are not."""
    cluster_field: str | None = None
    """The document's field that holds its cluster."""
    question_field: str | None = None
    """The document's field whose `question_key` gives its fold in a contrast set."""
    needs: tuple[str, ...] = field(default=())
    """The downloaded assets that it reads."""
    benchmark: str | None = None
    """The published benchmark that it is; None for a stand-in of ours, which no published figure
    may stand beside."""
    size: TaskSize | None = None
    """How much it asks, where that is known beforehand."""
    family: str | None = None
    """A name shared by tasks that put the same prompts, and many of the same answers, to a model:
    their cells are answered together."""


_ACCURACY = MetricCard("binary", True)
_SHARE = MetricCard("bounded", True)
_DISTINCT = {f"distinct_{n}": _SHARE for n in (1, 2, 3)}
_CATEGORY = "the question's category"


def _card_on_questions(
    name: str,
    description: str,
    primary_metric: str,
    metrics: Mapping[str, MetricCard],
    benchmark: str | None = None,
    size: TaskSize | None = None,
    family: str | None = None,
) -> TaskCard:
    """The card of a task whose documents are TruthfulQA-like questions."""
    return TaskCard(
        name=name,
        description=description,
        primary_metric=primary_metric,
        metrics=metrics,
        role="target",
        cluster=_CATEGORY,
        cluster_field="category",
        question_field="question",
        benchmark=benchmark,
        size=size,
        family=family,
    )


def _overlap_metrics() -> dict[str, MetricCard]:
    """truthfulqa_gen's metrics: _max and _diff are on a scale of 100."""
    metrics: dict[str, MetricCard] = {}
    for score in ("bleu", "rouge1", "rouge2", "rougeL"):
        metrics |= {f"{score}_max": MetricCard("continuous", True), f"{score}_acc": _ACCURACY}
        metrics[f"{score}_diff"] = MetricCard("continuous", True)
    return metrics


def _knowledge_card(
    name: str, description: str, metrics: tuple[str, ...], field: str, of: str
) -> TaskCard:
    """The card of embedded questions that steering must not harm, clustered by their `field`."""
    return TaskCard(
        name=name,
        description=description,
        primary_metric=metrics[0],
        metrics=dict.fromkeys(metrics, _ACCURACY),
        role="capability",
        cluster=of,
        cluster_field=field,
    )


_CARDS = (
    _card_on_questions(
        "truthful_mini_mc",
        "common misconceptions: is the true answer likelier? (embedded)",
        "mc2",
        {"mc1": _ACCURACY, "mc2": _SHARE},
    ),
    _card_on_questions(
        "truthful_mini_gen",
        "common misconceptions: does the written answer overlap with true ones? (embedded)",
        "bleu_acc",
        dict.fromkeys(("bleu_acc", "rouge1_acc", "rougeL_acc"), _ACCURACY) | _DISTINCT,
    ),
    # Categories of prompts are no clusters, here and for preferences: they are the strata that
    # the prompts were chosen by, not a sample of a population of strata.
    TaskCard(
        name="ultrafeedback_mini_mc",
        description="prompts of ten kinds: is the better answer likelier? (embedded)",
        primary_metric="acc_norm",
        metrics={"acc": _ACCURACY, "acc_norm": _ACCURACY},
        role="target",
        question_field="question",
    ),
    TaskCard(
        name="ultrafeedback_mini_gen",
        description="prompts of ten kinds: written answers, for a judge; repetition (embedded)",
        primary_metric="distinct_2",
        metrics=_DISTINCT,
        role="target",
        question_field="question",
    ),
    TaskCard(
        name="realtoxicity_mini",
        description="is the continuation of a provoking prompt toxic? (embedded classifier)",
        primary_metric="toxicity",
        metrics={
            "toxicity": MetricCard("bounded", False),
            "toxic": MetricCard("binary", False),
            **_DISTINCT,
        },
        role="target",
        needs=("realtoxicity_mini", "profanity_classifier"),
    ),
    _knowledge_card(
        "mmlu_mini",
        "knowledge of fourteen subjects, the letter of one of four choices (embedded)",
        ("acc",),
        "subject",
        "the question's subject",
    ),
    _knowledge_card(
        "mmlu_mini_continuation",
        "the same by the answers' texts, for models that are at chance with letters (embedded)",
        ("acc", "acc_norm"),
        "subject",
        "the question's subject",
    ),
    _knowledge_card(
        "arc_mini",
        "science at school, one of four answers (embedded)",
        ("acc", "acc_norm"),
        "category",
        _CATEGORY,
    ),
    _knowledge_card(
        "commonsense_mini",
        "everyday reasoning, the letter of one of five choices (embedded)",
        ("acc",),
        "category",
        _CATEGORY,
    ),
    _knowledge_card(
        "commonsense_mini_continuation",
        "the same by the answers' texts, for models that are at chance with letters (embedded)",
        ("acc", "acc_norm"),
        "category",
        _CATEGORY,
    ),
    _card_on_questions(
        "truthfulqa_mc1",
        "TruthfulQA: is the best answer the likeliest? (--data-dir or hub)",
        "acc",
        {"acc": _ACCURACY},
        "truthfulqa",
        TaskSize(documents=817, prompt_tokens=188, answers=5, answer_tokens=11),
        "truthfulqa_mc",
    ),
    _card_on_questions(
        "truthfulqa_mc2",
        "TruthfulQA: probability of the true answers (--data-dir or hub)",
        "acc",
        {"acc": _SHARE},
        "truthfulqa",
        TaskSize(documents=817, prompt_tokens=188, answers=8, answer_tokens=11),
        "truthfulqa_mc",
    ),
    _card_on_questions(
        "truthfulqa_gen",
        "TruthfulQA: does the written answer overlap with true ones? (--data-dir or hub)",
        "bleu_acc",
        _overlap_metrics(),
        "truthfulqa",
    ),
    _card_on_questions(
        "truthfulqa_open",
        "TruthfulQA, written answers for judges such as truth and info (--data-dir or hub)",
        "distinct_2",
        _DISTINCT,
        "truthfulqa",
        TaskSize(documents=817, prompt_tokens=18, generated=50),
    ),
    TaskCard(
        name="ultrafeedback",
        description="UltraFeedback, 500 prompts; for the judge reward (--data-dir or hub)",
        primary_metric="distinct_2",
        metrics=_DISTINCT,
        role="target",
        question_field="question",
        benchmark="ultrafeedback",
        size=TaskSize(documents=500, prompt_tokens=200, generated=50),
    ),
    TaskCard(
        name="realtoxicity",
        description="RealToxicityPrompts, 500 toxic ones; for the judge toxicity (--data-dir or "
        "hub)",
        primary_metric="distinct_2",
        metrics=_DISTINCT,
        role="target",
        benchmark="realtoxicityprompts",
        size=TaskSize(documents=500, prompt_tokens=15, generated=50),
    ),
    TaskCard(
        name="mmlu_all",
        description="MMLU, all 57 subjects as one task (--data-dir or hub)",
        primary_metric="acc",
        metrics={"acc": _ACCURACY},
        role="capability",
        cluster="the question's subject",
        cluster_field="subject",
        benchmark="mmlu",
        size=TaskSize(documents=14_042, prompt_tokens=110, answers=4, answer_tokens=1),
    ),
    TaskCard(
        name="arc_challenge",
        description="ARC-Challenge: grade-school science, the harder questions (hub)",
        primary_metric="acc",
        metrics={"acc": _ACCURACY, "acc_norm": _ACCURACY},
        role="capability",
        benchmark="arc_challenge",
        size=TaskSize(documents=1_172, prompt_tokens=30, answers=4, answer_tokens=6),
    ),
    TaskCard(
        name="commonsense_qa",
        description="CommonsenseQA: five answers to choose from (hub)",
        primary_metric="acc",
        metrics={"acc": _ACCURACY},
        role="capability",
        benchmark="commonsense_qa",
        size=TaskSize(documents=1_221, prompt_tokens=45, answers=5, answer_tokens=1),
    ),
)

_BINARY = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"})
"""lm-eval's own metrics that are 0 or 1 per document."""
_RATIO = frozenset({"weighted_perplexity", "bits_per_byte"})
"""lm-eval's aggregations of log-likelihoods over numbers of words or bytes."""


def list_tasks() -> tuple[TaskCard, ...]:
    """The cards of the tasks described here; every other task of lm-eval can be run too."""
    return _CARDS


@cache
def card(name: str) -> TaskCard:
    """The card of any task: one written here, or one made from lm-eval's own task file.

    A made card has the role `capability` and no clusters, and takes the first metric as primary.
    Metrics that are no mean or ratio over documents (F1, BLEU, perplexity per document) are left
    out. A mean is `continuous` unless lm-eval computes it itself as 0 or 1. Nothing is downloaded.

    Raises UnknownNameError for a name that is none, and TaskError for a group, or when no metric
    of the task has a value per document.
    """
    written = {card.name: card for card in _CARDS}
    return written[name] if name in written else _generic_card(name, task_config(name))


def family_of(name: str) -> str:
    """The family of a task; its own name where it asks like no other."""
    families = {card.name: card.family for card in _CARDS}
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
    own = doc.get(described.cluster_field)
    if own or described.question_field is None:
        return own or None
    return (categories or {}).get(question_key(doc[described.question_field]))


def _generic_card(name: str, config: Mapping[str, Any]) -> TaskCard:
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

    told = listed.get("aggregation") or get_metric_aggregation(metric)
    return told if isinstance(told, str) else getattr(told, "__name__", "")


def _kind(metric: str, aggregation: str, own_scoring: bool) -> MetricKind | None:
    if aggregation in _RATIO:
        return "ratio"
    if aggregation not in ("mean", "nanmean"):
        return None
    return "binary" if metric in _BINARY and not own_scoring else "continuous"


def _higher_is_better(metric: str, listed: Mapping[str, Any]) -> bool:
    from lm_eval.api.registry import is_higher_better

    told = listed.get("higher_is_better")
    return bool(is_higher_better(metric) if told is None else told)
