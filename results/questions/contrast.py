"""Question 5: how were p+ and p- formed?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.questions.blocks import Answer, Finding, Heading, Shown, Table, shown
from steereval.results.questions.effects import gain_words, targets, unit_of
from steereval.results.questions.estimate import COSINE, cosine_of
from steereval.results.questions.evidence import Evidence, Where

QUESTION = "How were p+ and p- formed?"
METHOD = (
    "The card of the contrast set, and what changes when steerers are fitted to other draws from "
    "it. The AUC of length is how well the length of a statement alone separates the classes: "
    "0.5 not at all. The spread of effects is that of the fit seeds, each of which draws its share "
    "of the contrast's questions."
)

LENGTH_LIMIT = 0.7
"""AUC of length, or of shortness, from which on a steerer may have learned length."""

Card = Mapping[str, Any]

Drawn = tuple[Row, float]
"""A row, and the share of the questions that each of its fit seeds draws."""


def contrast(evidence: Evidence) -> Answer | None:
    """The answer; None if the manifest has no card."""
    cards = evidence.manifest.contrasts
    findings = tuple(_finding(evidence, str(name), card) for name, card in cards.items())
    return Answer(5, QUESTION, METHOD, findings) if findings else None


def _finding(evidence: Evidence, name: str, card: Card) -> Finding:
    rows = list(_fitted_to(evidence, name))
    sentence = f"{_formed(name, card)}; {_length_words(card)}."
    more = [*_spread_words(rows), *_agreement_words(evidence, name)]
    warnings = tuple(str(text) for text in card.get("warnings") or ())
    if (length := _length_warning(card)) and not any("length" in text for text in warnings):
        warnings += (length,)
    tables = (
        _card_table(evidence, name, card),
        *_spread_table(name, rows),
        *_agreed(evidence, name),
    )
    return Finding(
        sentence,
        more=tuple(more),
        tables=tables,
        warnings=tuple(f"{name}: {text}" for text in warnings),
    )


def _spread_words(rows: list[Drawn]) -> Iterator[str]:
    """Of the row whose effect spreads most among those in the unit of the first."""
    unit = unit_of(rows[0][0].metric) if rows else None
    alike = [(row, share) for row, share in rows if unit_of(row.metric) == unit]
    if not alike:
        return
    row, share = max(alike, key=lambda each: _deviation(each[0]))
    draws = "fits" if share == 1.0 else f"draws of {100 * share:g} % of the questions"
    most = ", the most of all settings" if len(alike) > 1 else ""
    yield (
        f"Between {draws} the effect of {row.name} on {row.task.name} spreads by {_amount(row)} "
        f"(standard deviation of {_seeds(row)} fit seeds){most}."
    )


def _formed(name: str, card: Card) -> str:
    version = f" (version {card['version']})" if card.get("version") else ""
    text = f"{name}{version} holds {_count(card, 'n_positive')} positive and "
    text += f"{_count(card, 'n_negative')} negative statements"
    if card.get("n_keys"):
        text += f" on {card['n_keys']} questions"
    if rule := card.get("label_rule"):
        text += f"; {rule}"
    return text


def _count(card: Card, key: str) -> str:
    return str(card.get(key, "an unknown number of"))


def _length_auc(card: Card) -> float | None:
    """How well length separates the classes, regardless of the longer one."""
    auc = card.get("length_auc")
    return None if auc is None else max(float(auc), 1.0 - float(auc))


def _length_words(card: Card) -> str:
    auc = _length_auc(card)
    if auc is None:
        return "whether their lengths differ is not recorded"
    verdict = (
        "length alone separates them" if auc >= LENGTH_LIMIT else "length does not separate them"
    )
    return f"{verdict} (AUC of length {auc:.2f})"


def _length_warning(card: Card) -> str:
    auc = _length_auc(card)
    if auc is None or auc < LENGTH_LIMIT:
        return ""
    return f"length alone separates the classes: AUC {auc:.2f}"


def _fitted_to(evidence: Evidence, name: str) -> Iterator[Drawn]:
    """(row, share drawn) of compared target rows that were fitted to `name` with several seeds."""
    only = len(evidence.manifest.contrasts) == 1
    for model in evidence.analysis.models:
        for row in targets(evidence, model):
            fit = evidence.fitted(row.arm.method, row.task.name)
            seeded = row.comparison is not None and len(row.comparison.seeds) > 1
            if seeded and (only if fit is None else fit.contrast == name):
                yield row, 1.0 if fit is None else fit.fraction


def _deviation(row: Row) -> float:
    """Standard deviation between the fit seeds of the mean difference."""
    assert row.comparison is not None
    return float(np.std(row.comparison.values.mean(axis=0), ddof=1))


def _seeds(row: Row) -> int:
    assert row.comparison is not None
    return len(row.comparison.seeds)


def _amount(row: Row) -> str:
    unit, deviation = unit_of(row.metric), _deviation(row)
    if not row.metric.in_points:
        return f"{deviation:.2g} ({unit.name})"
    return f"{unit.scale * deviation:.1f} points"


def _agreement_words(evidence: Evidence, name: str) -> Iterator[str]:
    for where in (place for place in evidence.places if place.contrast == name):
        matrices = evidence.matrices(where, "subset_agreement")
        subject = evidence.subject(where, list(matrices))
        if subject is not None:
            cosine = cosine_of(matrices[subject], evidence.confidence).words(COSINE)
            yield evidence.named(
                where,
                f"The displacement of {subject.words} has cosine {cosine} with that of other fit "
                "seeds.",
            )


def _agreed(evidence: Evidence, name: str) -> Iterator[Table]:
    for where in (place for place in evidence.places if place.contrast == name):
        matrices = evidence.matrices(where, "subset_agreement")
        if matrices:
            yield _agreement_table(evidence, where)


def _agreement_table(evidence: Evidence, where: Where) -> Table:
    headings = (
        Heading("Method", numeric=False),
        Heading("Agreement", "Mean cosine of the displacement with that of other fit seeds"),
        Heading("Fit seeds"),
    )
    rows = tuple(
        (
            Shown(setting.method, note=setting.at),
            shown(cosine_of(matrix, evidence.confidence), COSINE),
            Shown(str(len(matrix.seeds)), len(matrix.seeds)),
        )
        for setting, matrix in evidence.matrices(where, "subset_agreement").items()
    )
    caption = f"Agreement between fits to other draws: {where.words}"
    return Table(f"q5-agreement-{where.name}", caption, headings, rows)


def _card_table(evidence: Evidence, name: str, card: Card) -> Table:
    uses = [
        fit
        for label in evidence.analysis.plan.methods
        for task in evidence.analysis.plan.tasks
        if (fit := evidence.fitted(label, task)) is not None and fit.contrast == name
    ]
    templates = sorted({fit.template for fit in uses})
    shares = sorted({fit.fraction for fit in uses})
    facts = [
        ("Source", card.get("source")),
        ("Rule for the label", card.get("label_rule")),
        ("Content hash (SHA-256)", card.get("content_hash", card.get("hash"))),
        ("Template", ", ".join(templates) or None),
        ("Positive statements", card.get("n_positive")),
        ("Negative statements", card.get("n_negative")),
        ("Questions", card.get("n_keys")),
        ("Pairs", card.get("n_pairs")),
        ("Duplicates", card.get("n_duplicates")),
        ("Folds", card.get("n_folds")),
        ("Mean length, positive (characters)", _decimal(card.get("mean_length_positive"))),
        ("Mean length, negative (characters)", _decimal(card.get("mean_length_negative"))),
        ("AUC of length (positive longer)", _decimal(card.get("length_auc"), 3)),
        ("Share drawn by each fit seed", ", ".join(f"{x:g}" for x in shares) or None),
    ]
    headings = (Heading("Fact", numeric=False), Heading(name, numeric=False))
    rows = tuple((Shown(fact), Shown(str(value))) for fact, value in facts if value is not None)
    return Table(f"q5-card-{name}", f"Card of {name}", headings, rows)


def _decimal(value: Any, decimals: int = 1) -> str | None:
    return None if value is None else f"{float(value):.{decimals}f}"


def _spread_table(name: str, rows: list[Drawn]) -> Iterator[Table]:
    if not rows:
        return
    headings = (
        Heading("Method", numeric=False),
        Heading("On", numeric=False),
        Heading("Effect"),
        Heading("Drawn", "Share of the questions that each fit seed draws"),
        Heading("Fit seeds"),
        Heading("Least"),
        Heading("Largest"),
        Heading("Deviation", "Standard deviation between fit seeds"),
    )
    lines = []
    for row, share in rows:
        assert row.comparison is not None
        scale = wording.scale_of(row.metric)
        means = scale * row.comparison.values.mean(axis=0)
        deviation, decimals = scale * _deviation(row), 1 if row.metric.in_points else 3
        lines.append(
            (
                Shown(row.name),
                Shown(f"{row.task.name} · {row.metric.name}", note=row.model),
                Shown(gain_words(row), row.comparison.effect.estimate),
                Shown(f"{share:g}", share),
                Shown(str(len(means)), len(means)),
                Shown(wording.number(means.min(), decimals, True), float(means.min())),
                Shown(wording.number(means.max(), decimals, True), float(means.max())),
                Shown(f"{deviation:.2g}", deviation),
            )
        )
    caption = f"Effects of fits to other draws from {name}"
    yield Table(f"q5-spread-{name}", caption, headings, tuple(lines))
