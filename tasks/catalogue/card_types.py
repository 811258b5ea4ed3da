"""Types of a task's card: its metrics, its size, and the card itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MetricKind = Literal["binary", "bounded", "continuous", "ratio"]
Role = Literal["target", "capability"]


@dataclass(frozen=True)
class MetricCard:
    """The scale of a metric's values, one value per document."""

    kind: MetricKind
    """binary: 0 or 1; bounded: in [0, 1]; continuous: any number; ratio: a sum over a weight."""
    higher_is_better: bool
    """Which way is better."""
    is_mean_of_subtasks: bool = False
    """Of a group: whether its score is the mean of its subtasks' scores, however many documents
    each has, and not the mean over all documents."""


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
    """Facts on a task that the statistics need before it is run. The unit is the document."""

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
    """Name of the clusters of documents; None without clusters."""
    cluster_field: str | None = None
    """The document's field that holds its cluster."""
    question_field: str | None = None
    """The document's field whose `question_key` gives its fold in a contrast set."""
    needs: tuple[str, ...] = field(default=())
    """The downloaded assets that it reads."""
    benchmark: str | None = None
    """The published benchmark that it is; None for a stand-in of ours, which no published figure
    may be compared with."""
    size: TaskSize | None = None
    """How much it asks, where that is known beforehand."""
    family: str | None = None
    """A name shared by tasks that put the same prompts, and many of the same answers, to a model:
    their cells are answered together."""
    subtasks: tuple[str, ...] = ()
    """Of a group: its subtasks, which are the clusters of its documents."""
