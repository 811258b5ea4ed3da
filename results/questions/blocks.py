"""Parts of an answer: sentences, tables and figures, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from steereval.results.questions.estimate import Estimate, Unit

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Shown:
    """The content of one place of a table."""

    text: str
    """As it is read."""

    order: float | None = None
    """Number to sort by; None: sorted by its text."""

    note: str = ""
    """A smaller second line."""


ABSENT = Shown("–", -math.inf)


def shown(estimate: Estimate | None, unit: Unit, note: str = "") -> Shown:
    """An estimate with its interval; a dash where there is none."""
    return ABSENT if estimate is None else Shown(estimate.words(unit), estimate.mean, note)


@dataclass(frozen=True)
class Heading:
    """The head of a column."""

    title: str
    """Short."""

    help: str = ""
    """Its meaning."""

    numeric: bool = True
    """Whether it holds numbers."""


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    name: str
    """Unique, fit for a file name."""

    caption: str
    """Its content, in words."""

    headings: tuple[Heading, ...]
    """From left to right."""

    rows: tuple[tuple[Shown, ...], ...]
    """Each as long as `headings`."""

    is_aside: bool = False
    """Whether it is folded behind the answer."""


@dataclass(frozen=True)
class Line:
    """Estimates that belong together: a curve, or the dots of one kind."""

    label: str
    """As the key names it."""

    places: tuple[float, ...]
    """Where they stand on the x axis."""

    estimates: tuple[Estimate, ...]
    """One a place."""


def dots_of(
    label: str, keys: Sequence[_Key], estimates: Mapping[_Key, Estimate]
) -> tuple[Line, ...]:
    """The estimates of those of `keys` that have one, at their places; none if none has."""
    here = [(float(i), estimates[key]) for i, key in enumerate(keys) if key in estimates]
    if not here:
        return ()
    return (Line(label, tuple(place for place, _ in here), tuple(e for _, e in here)),)


@dataclass(frozen=True)
class Curves:
    """Curves over an x axis, with bands of their intervals."""

    name: str
    """Unique, fit for a file name."""

    title: str
    """Its content, in words."""

    x_label: str
    """Quantity of the x axis."""

    y_label: str
    """Quantity of the y axis."""

    unit: Unit
    """Of the estimates."""

    lines: tuple[Line, ...]
    """At least one."""

    levels: tuple[tuple[str, float], ...] = ()
    """Level lines to compare with: (name, height)."""

    ticks: tuple[tuple[float, str], ...] = ()
    """Places of the x axis that have names of their own."""

    is_log_x: bool = False
    """Whether the x axis is logarithmic."""

    is_log_y: bool = False
    """Whether the y axis is logarithmic."""


@dataclass(frozen=True)
class Dots:
    """Estimates with their intervals, one line a method, several kinds of dots on it."""

    name: str
    """Unique, fit for a file name."""

    title: str
    """Its content, in words."""

    x_label: str
    """Quantity of the axis."""

    unit: Unit
    """Of the estimates."""

    labels: tuple[str, ...]
    """Of the lines, the first at the top."""

    kinds: tuple[Line, ...]
    """Whose places are indices of `labels`."""

    levels: tuple[tuple[str, float], ...] = ()
    """Upright lines to compare with: (name, place)."""


@dataclass(frozen=True)
class Scatter:
    """Points with intervals on both axes, each with its name."""

    name: str
    """Unique, fit for a file name."""

    title: str
    """Its content, in words."""

    x_label: str
    """Quantity of the x axis."""

    y_label: str
    """Quantity of the y axis."""

    units: tuple[Unit, Unit]
    """Of x and of y."""

    points: tuple[tuple[str, Estimate, Estimate], ...]
    """(name, x, y)."""

    cross: tuple[float, float] = (0.0, 0.0)
    """Where the lines of comparison cross."""


Figure = Curves | Dots | Scatter


@dataclass(frozen=True)
class Finding:
    """The answer for one model, contrast set and set of layers."""

    sentence: str
    """Answers the question with numbers and intervals, or says what is missing."""

    is_answered: bool = True
    """Whether it does."""

    more: tuple[str, ...] = ()
    """Further sentences."""

    tables: tuple[Table, ...] = ()
    """Evidence for the sentence."""

    figures: tuple[Figure, ...] = ()
    """Likewise."""

    warnings: tuple[str, ...] = ()
    """Cautions for the reader."""


@dataclass(frozen=True)
class Answer:
    """The answer to one of the questions."""

    number: int
    """1 to 8."""

    question: str
    """As reviewers ask it."""

    method: str
    """How the answer is found, in words."""

    findings: tuple[Finding, ...] = field(default=())
    """One a place that was looked at."""

    @property
    def anchor(self) -> str:
        """Where it is on the page."""
        return f"q{self.number}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The first sentences, one a finding; the same one once."""
        return tuple(dict.fromkeys(finding.sentence for finding in self.findings))

    @property
    def is_answered(self) -> bool:
        """Whether anything was found."""
        return any(finding.is_answered for finding in self.findings)


def capital(sentence: str) -> str:
    """With a capital at its beginning."""
    return sentence[:1].upper() + sentence[1:]
