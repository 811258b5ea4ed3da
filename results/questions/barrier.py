"""Question 6: does the barrier property hold?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steereval.results.questions.blocks import (
    Answer,
    Dots,
    Finding,
    Heading,
    Shown,
    Table,
    dots_of,
    shown,
)
from steereval.results.questions.estimate import SHARE, Estimate, ratio_of, share_of
from steereval.results.questions.evidence import (
    BARRIER,
    COMMAND,
    CONSTANT,
    Evidence,
    Setting,
    Where,
)
from steereval.results.questions.matrix import Matrix
from steereval.results.store.diagnosis import JUDGES

QUESTION = "Does the barrier property hold?"
METHOD = (
    "Along every path h is read at each step. The headline is h of a barrier that was fitted on "
    "other data with other hash functions; on the steerer's own h a gradient flow rises by "
    "construction, so that figure is only a check. The property counts as held where the "
    "interval of the share of rising steps lies above 90 %, as not held where it lies below."
)

HOLDS_FROM = 0.90
"""Share of rising steps that still counts as the property."""

OWN, CROSSFIT, OTHER_HASH = JUDGES

OTHER_BARRIERS = "other"
"""The table of the check."""

JUDGE_WORDS = {
    CROSSFIT: "fitted on other data",
    OTHER_HASH: "other hash functions, same data",
    OWN: "its own, by construction",
}


@dataclass(frozen=True)
class BarrierLine:
    """Effects of one setting under one barrier."""

    rises: Estimate
    """Share of steps with a rising h."""

    ascends: Estimate | None
    """Share of steps that begin along grad h."""

    below: Estimate | None
    """Share of activations that begin with h < 0."""

    reaches: Estimate | None
    """Of those the share that reaches h >= 0; None if none begins below."""

    stays: Estimate | None
    """Of all that reached it the share that stays; None if none did."""


Lines = Mapping[Setting, BarrierLine]


def barrier(evidence: Evidence) -> Answer | None:
    """The answer; None without a diagnosis, or where no method has a barrier."""
    if not evidence.places or not evidence.raises(BARRIER):
        return None
    findings = tuple(_finding(evidence, where) for where in evidence.places)
    return Answer(6, QUESTION, METHOD, findings)


def barrier_lines(evidence: Evidence, where: Where, judge: str) -> dict[Setting, BarrierLine]:
    """Effects of every setting under the barrier of `judge`."""
    quantities = ("rises", "ascends", "starts_below", "reaches", "stays")
    rises, ascends, below, reaches, stays = (
        evidence.matrices(where, quantity, judge=judge) for quantity in quantities
    )
    confidence = evidence.confidence
    return {
        setting: BarrierLine(
            rises=share_of(matrix, confidence),
            ascends=_share(ascends.get(setting), confidence),
            below=_share(below.get(setting), confidence),
            reaches=_ratio(reaches.get(setting), below.get(setting), confidence),
            stays=_ratio(stays.get(setting), reaches.get(setting), confidence),
        )
        for setting, matrix in rises.items()
    }


def _share(matrix: Matrix | None, confidence: float) -> Estimate | None:
    return None if matrix is None else share_of(matrix, confidence)


def _ratio(parts: Matrix | None, wholes: Matrix | None, confidence: float) -> Estimate | None:
    return None if parts is None or wholes is None else ratio_of(parts, wholes, confidence)


def _finding(evidence: Evidence, where: Where) -> Finding:
    by_judge = {judge: barrier_lines(evidence, where, judge) for judge in JUDGES}
    headline = by_judge[CROSSFIT]
    subject = evidence.subject(where, list(headline))
    if subject is None:
        return Finding(evidence.named(where, _missing(evidence, where, by_judge[OWN])), False)
    sentence = _sentence(subject, headline[subject], by_judge[OWN].get(subject))
    under_others = {
        (judge, s): line for judge in (OWN, OTHER_HASH) for s, line in by_judge[judge].items()
    }
    tables = [_table(where, "crossfit", "under a barrier fitted on other data", _first(headline))]
    if under_others:
        rows = [(s, JUDGE_WORDS[judge], line) for (judge, s), line in under_others.items()]
        tables.append(_table(where, OTHER_BARRIERS, "under other barriers", rows))
    figure = _figure(evidence, where, by_judge)
    return Finding(
        evidence.named(where, sentence),
        more=tuple(_constant(evidence, where, headline, subject)),
        tables=tuple(tables),
        figures=(figure,),
    )


def _constant(evidence: Evidence, where: Where, headline: Lines, subject: Setting) -> Iterator[str]:
    """Effects of a constant vector, which is fitted without a barrier."""
    for setting in evidence.usuals(where, list(headline)):
        if CONSTANT in evidence.traits(setting.method) and setting != subject:
            yield (
                f"Under the constant vector of {setting.words} it rises in "
                f"{headline[setting].rises.words(SHARE)} of the steps."
            )
            return


def _missing(evidence: Evidence, where: Where, own_lines: Lines) -> str:
    text = (
        "Not measured: h along the paths under a barrier that was fitted on other data, which "
        f"{COMMAND} measures."
    )
    subject = evidence.subject(where, list(own_lines))
    if subject is None:
        return text
    return f"{text} On its own h, which says nothing, {_rising(subject.words, own_lines[subject])}."


def _rising(name: str, line: BarrierLine) -> str:
    return f"{name} rises in {line.rises.words(SHARE)} of the steps"


def _sentence(subject: Setting, line: BarrierLine, own_line: BarrierLine | None) -> str:
    text = (
        f"{_verdict(subject.words, line.rises)}: under a barrier fitted on other data h rises in "
        f"{line.rises.words(SHARE)} of the steps"
    )
    if line.reaches is not None:
        text += f", {line.reaches.words(SHARE)} of the activations that begin below reach h ≥ 0"
    elif line.below is not None:
        text += ", no activation begins below h = 0"
    if line.stays is not None:
        text += f", and {line.stays.words(SHARE)} of those that reach it stay there"
    if own_line is not None:
        text += f"; on its own h it rises in {own_line.rises.words(SHARE)}, by construction"
    return f"{text}."


def _verdict(name: str, rises: Estimate) -> str:
    if rises.low >= HOLDS_FROM:
        return f"The barrier property holds for {name}"
    if rises.high >= HOLDS_FROM:
        return f"Whether the barrier property holds for {name} is open"
    text = f"The barrier property does not hold for {name}"
    if rises.high < 0.5:
        return f"{text}, and h falls more often than it rises"
    if rises.low > 0.5:
        return f"{text}, though h rises more often than it falls"
    return f"{text}, and h rises no more often than it falls"


Row = tuple[Setting, str, BarrierLine]
"""(setting, whose barrier, what it shows)."""


def _first(lines: Lines) -> list[Row]:
    return [(setting, JUDGE_WORDS[CROSSFIT], line) for setting, line in lines.items()]


def _table(where: Where, name: str, what: str, lines: Sequence[Row]) -> Table:
    headings = (
        Heading("Method", numeric=False),
        *((Heading("Barrier", numeric=False),) if name == OTHER_BARRIERS else ()),
        Heading("Rises", "Share of the path's steps with a rising h"),
        Heading("Along ∇h", "Share of the steps that begin along the gradient of h"),
        Heading("Begins below", "Share of the activations with h < 0 at the start"),
        Heading("Reaches", "Of those the share that reaches h ≥ 0"),
        Heading("Stays", "Of those that reach h ≥ 0 the share that stays there to the end"),
        Heading("Items", "Held-out statements, with the number of their questions"),
    )
    rows = tuple(
        (
            Shown(setting.method, note=setting.at),
            *((Shown(judge),) if name == OTHER_BARRIERS else ()),
            *(
                shown(estimate, SHARE)
                for estimate in (line.rises, line.ascends, line.below, line.reaches, line.stays)
            ),
            Shown(str(line.rises.n_items), line.rises.n_items, _counts(line.rises)),
        )
        for setting, judge, line in lines
    )
    caption = f"h {what}: {where.words}"
    return Table(f"q6-{name}-{where.name}", caption, headings, rows, name == OTHER_BARRIERS)


def _counts(estimate: Estimate) -> str:
    seeds = f"{estimate.n_seeds} fit seed{'s' if estimate.n_seeds > 1 else ''}"
    return f"{estimate.n_clusters} questions, {seeds}"


def _figure(evidence: Evidence, where: Where, by_judge: Mapping[str, Lines]) -> Dots:
    """Every method at its usual strength, under the three barriers."""
    settings = evidence.usuals(where, list(by_judge[CROSSFIT]))
    kinds = [
        kind
        for judge in (CROSSFIT, OTHER_HASH, OWN)
        for kind in dots_of(
            JUDGE_WORDS[judge], settings, {s: line.rises for s, line in by_judge[judge].items()}
        )
    ]
    return Dots(
        name=f"q6-rises-{where.name}",
        title=f"Steps with a rising h: {where.words}",
        x_label="share of steps, %",
        unit=SHARE,
        labels=tuple(setting.brief for setting in settings),
        kinds=tuple(kinds),
        levels=(("chance", 0.5),),
    )
