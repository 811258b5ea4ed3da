"""Judges: the texts that they read, and the metrics that follow from their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from steereval.tasks.catalogue.cards import MetricCard

Engine = Literal["yes_no", "reward", "classifier", "likelihood", "perspective", "profanity"]
"""Source of numbers for texts: see `steereval.models.judges`, Perspective's API, or the bundled
classifier."""

Texts = tuple[str, str]
"""Input of an engine: a context, which may be empty, and the text itself."""

Value = tuple[float, float]
"""A metric's value and its weight, as in the item rows."""


@dataclass(frozen=True)
class Answer:
    """One answer of a task's cell."""

    question: str
    """The document's question, without the words around it."""
    prompt: str
    """The document's own prompt, without few-shot examples and chat template."""
    response: str
    """The generated text."""


@dataclass(frozen=True)
class Scorer:
    """One way in which a judge makes numbers."""

    engine: Engine
    """The engine that makes them."""
    model: str = ""
    """The published model; empty for an engine that has none to choose."""


@dataclass(frozen=True)
class Judge:
    """A judge by its name."""

    name: str
    """In grids."""
    description: str
    """One line."""
    scorers: Mapping[str, Scorer]
    """By the name that a grid gives under `scorer`; the single one of a judge with no choice has
    the name ""."""
    texts: Callable[[Answer], Texts]
    """The engine's input for an answer."""
    values: Callable[[Sequence[float]], dict[str, Value]]
    """The metrics that the engine's numbers for one answer make."""
    metrics: Mapping[str, MetricCard]
    """Cards of these metrics, by name."""
