"""Question 7: how likely are the trajectories?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.questions.barrier import CROSSFIT
from steereval.results.questions.blocks import (
    ABSENT,
    Answer,
    Curves,
    Finding,
    Heading,
    Shown,
    Table,
    capital,
    shown,
)
from steereval.results.questions.estimate import (
    CHANGE,
    NATS,
    PLAIN,
    SHARE,
    Estimate,
    Unit,
    of_columns,
    share_of,
)
from steereval.results.questions.evidence import COMMAND, Evidence, Setting, Where
from steereval.results.questions.paths import Ends, ends_of, natural, path_of
from steereval.results.questions.probe import probe_table, probe_words
from steereval.results.questions.texts import perplexity_words, text_rows, text_table

QUESTION = "How likely are the trajectories?"
METHOD = (
    "Held-out activations are steered, and the ends of their paths compared with held-out "
    "positives that nothing steered: by Mahalanobis distance, by the distance to the nearest ones, "
    "by the norm, and by h of a barrier that was fitted on other data. An end lies off the data "
    "where it is further away than 95 % of the natural positives are; steering counts as leaving "
    "the data where it adds more than 10 points to that share. The calibration error (ECE) has "
    "bins of equally many items and is held against what chance alone would show; one fit seed."
)

NATURAL_SHARE = 0.95
"""Of held-out positives that lie within the bound."""

MARGIN = 0.10
"""Ends beyond the bound, more than starts, from which on steering leaves the data."""

DISTANCES = ("mahalanobis", "nearest")

Ended = Mapping[Setting, Ends]


@dataclass(frozen=True)
class Beyond:
    """Shares of activations further from held-out positives than these are."""

    start: Estimate
    """Before steering."""

    end: Estimate
    """After it."""

    added: Estimate
    """end - start."""


def trajectories(evidence: Evidence) -> Answer | None:
    """The answer; None if nothing of it was measured."""
    findings = [_finding(evidence, where) for where in evidence.places]
    if not findings:
        findings = [f for m in evidence.analysis.models if (f := _from_rows(evidence, m))]
    return Answer(7, QUESTION, METHOD, tuple(findings)) if findings else None


def _finding(evidence: Evidence, where: Where) -> Finding:
    distances = {name: ends_of(evidence, where, name) for name in DISTANCES}
    ratios = ends_of(evidence, where, "log_ratio", CROSSFIT)
    subject = evidence.subject(where, list(distances["mahalanobis"]) or list(ratios))
    texts = text_rows(evidence, where.model) if evidence.is_first(where) else []
    if subject is None:
        sentence = f"Not measured: the paths of the methods, which {COMMAND} measures."
        return Finding(
            evidence.named(where, sentence), False, tables=text_table(where.model, texts)
        )
    norms = ends_of(evidence, where, "norm_ratio")
    beyond = {name: _beyond(evidence, where, name, ended) for name, ended in distances.items()}
    parts = (
        _off(subject, beyond["mahalanobis"].get(subject)),
        _drift(subject, ratios, norms, evidence.confidence),
    )
    more = (
        *_others_off(subject, beyond["mahalanobis"]),
        probe_words(evidence, where, subject),
        *perplexity_words(texts, subject.method),
    )
    tables = (
        _table(evidence, where, beyond, ratios, norms),
        *probe_table(evidence, where, subject),
        *text_table(where.model, texts),
    )
    figures = tuple(_figures(evidence, where, list(distances["mahalanobis"]) or list(ratios)))
    sentence = f"{'; '.join(filter(None, parts))}."
    return Finding(
        evidence.named(where, sentence),
        more=tuple(f"{capital(text)}." for text in more if text),
        tables=tables,
        figures=figures,
    )


def _beyond(evidence: Evidence, where: Where, quantity: str, ended: Ended) -> dict[Setting, Beyond]:
    """Shares beyond the bound of natural positives; empty without any."""
    data = natural(evidence, where, quantity)
    if not len(data):
        return {}
    bound = float(np.quantile(data, NATURAL_SHARE))
    by_setting = {}
    for setting, ends in ended.items():
        start, end = (
            of_columns((matrix.values > bound).astype(np.float64), matrix)
            for matrix in (ends.start, ends.end)
        )
        added = Ends(start, end).change(evidence.confidence)
        if added is not None:
            before, after = (share_of(matrix, evidence.confidence) for matrix in (start, end))
            by_setting[setting] = Beyond(before, after, added)
    return by_setting


def _off(subject: Setting, beyond: Beyond | None) -> str:
    if beyond is None:
        return f"How far steering by {subject.words} leaves the data was not measured"
    verdict = "may leave"
    if beyond.added.low > MARGIN:
        verdict = "leaves"
    elif beyond.added.high <= MARGIN:
        verdict = "stays on"
    return (
        f"Steering by {subject.words} {verdict} the data: {beyond.end.words(SHARE)} of its paths' "
        f"ends lie further from held-out positives than {100 * NATURAL_SHARE:.0f} % of these do, "
        f"against {beyond.start.words(SHARE)} of their starts"
    )


def _others_off(subject: Setting, beyond: Mapping[Setting, Beyond]) -> Iterator[str]:
    """The other settings that leave the data."""
    off = [
        f"{setting.words} ({other.end.words(SHARE)})"
        for setting, other in beyond.items()
        if setting != subject and other.added.low > MARGIN
    ]
    if off:
        yield f"of the others {wording.joined(off)} leave{'s' if len(off) == 1 else ''} the data"


def _drift(subject: Setting, ratios: Ended, norms: Ended, confidence: float) -> str:
    parts = []
    if subject in ratios and (change := ratios[subject].change(confidence)) is not None:
        parts.append(f"h of a barrier fitted on other data changes by {change.words(NATS)}")
    if subject in norms and (change := norms[subject].change(confidence)) is not None:
        parts.append(f"the norm by {change.words(CHANGE)}")
    return " and ".join(parts)


def _from_rows(evidence: Evidence, model: str) -> Finding | None:
    """The part of the answer that rows give: perplexities of every method's texts."""
    texts = text_rows(evidence, model)
    if not texts:
        return None
    changed = [row for row in texts if _is_changed(row)]
    if changed:
        changes = wording.joined([_text_words(row) for row in changed])
        sentence = f"Steering shows in the texts: the perplexity of {changes}."
    else:
        largest = max(texts, key=_change)
        sentence = f"The texts do not show the steering; the most is {_text_words(largest)}."
    if len(evidence.analysis.models) > 1:
        sentence = f"{model}: {sentence}"
    return Finding(sentence, tables=text_table(model, texts))


def _is_changed(row: Row) -> bool:
    effect = None if row.comparison is None else row.comparison.effect
    return effect is not None and not effect.low <= 0.0 <= effect.high


def _change(row: Row) -> float:
    return 0.0 if row.comparison is None else abs(row.comparison.effect.estimate)


def _text_words(row: Row) -> str:
    assert row.comparison is not None
    words = wording.difference(row.comparison.effect, row.metric)
    return f"{row.name} on {row.task.name} ({words})"


def _table(
    evidence: Evidence,
    where: Where,
    beyond: Mapping[str, Mapping[Setting, Beyond]],
    ratios: Ended,
    norms: Ended,
) -> Table:
    headings = (
        Heading("Method", numeric=False),
        Heading("Starts off the data", "By Mahalanobis distance from held-out positives"),
        Heading("Ends off the data", "Likewise, after steering"),
        Heading("Ends far from neighbours", "By the distance to the 10 nearest held-out positives"),
        Heading("Change of h", "Under a barrier fitted on other data"),
        Heading("Change of the norm"),
    )
    settings = dict.fromkeys([*beyond["mahalanobis"], *ratios, *norms])
    rows = []
    for setting in settings:
        far, near = (beyond[name].get(setting) for name in DISTANCES)
        rows.append(
            (
                Shown(setting.method, note=setting.at),
                ABSENT if far is None else shown(far.start, SHARE),
                ABSENT if far is None else shown(far.end, SHARE),
                ABSENT if near is None else shown(near.end, SHARE),
                _changed(ratios.get(setting), NATS, evidence.confidence),
                _changed(norms.get(setting), CHANGE, evidence.confidence),
            )
        )
    return Table(f"q7-ends-{where.name}", f"Ends of paths: {where.words}", headings, tuple(rows))


def _changed(ends: Ends | None, unit: Unit, confidence: float) -> Shown:
    return ABSENT if ends is None else shown(ends.change(confidence), unit)


def _figures(evidence: Evidence, where: Where, settings: Sequence[Setting]) -> Iterator[Curves]:
    usual = evidence.usuals(where, settings)
    data = natural(evidence, where, "mahalanobis")
    bound = float(np.quantile(data, NATURAL_SHARE)) if len(data) else None
    levels = () if bound is None else ((f"{100 * NATURAL_SHARE:.0f} % of positives", bound),)
    for quantity, judge, title, label, lines_at in (
        ("mahalanobis", None, "Distance from the data", "Mahalanobis distance", levels),
        ("log_ratio", CROSSFIT, "Log density ratio", "h, nats (fitted on other data)", ()),
    ):
        lines = [line for s in usual for line in path_of(evidence, where, quantity, s, judge)]
        if lines:
            yield Curves(
                name=f"q7-{quantity}-{where.name}",
                title=f"{title} along the path: {where.words}",
                x_label="share of the way",
                y_label=label,
                unit=PLAIN,
                lines=tuple(lines),
                levels=lines_at,
            )
