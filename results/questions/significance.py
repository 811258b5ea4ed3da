"""Question 4: is the improvement significant?"""

from __future__ import annotations

from collections.abc import Sequence

from steereval.results.analysis import wording
from steereval.results.analysis.conclusion import conclusion, verdict_words
from steereval.results.analysis.leaderboard import Row
from steereval.results.questions.blocks import ABSENT, Answer, Finding, Heading, Shown, Table
from steereval.results.questions.effects import gain_words, targets
from steereval.results.questions.evidence import Evidence

QUESTION = "Is the improvement significant?"
METHOD = (
    "The verdicts of the confirmatory family: every method on every target task of a model, by "
    "the primary metric, paired by item and fit seed. p-values are adjusted for their number; "
    "intervals are those of a single comparison."
)


def significance(evidence: Evidence) -> Answer | None:
    """The answer; None if nothing was compared."""
    findings = tuple(
        _finding(evidence, model, rows)
        for model in evidence.analysis.models
        if (rows := targets(evidence, model))
    )
    return Answer(4, QUESTION, METHOD, findings) if findings else None


def _finding(evidence: Evidence, model: str, rows: Sequence[Row]) -> Finding:
    result, best, n = conclusion(rows), conclusion(rows).best, len(rows)
    where = f"{best.name} on {best.task.name} ({_words(best)})"
    if result.gains:
        which = "it is" if len(result.gains) == 1 else "the clearest is"
        verdict = (
            f"{'Yes' if len(result.gains) == n else 'In part'}: {len(result.gains)} of {n} "
            f"comparison{'s' if n > 1 else ''} show{'s' if len(result.gains) == 1 else ''} an "
            f"improvement; {which} {where}"
        )
    elif n == 1:
        verdict = f"No: {where} is not an improvement beyond chance"
    else:
        verdict = (
            f"No: none of {n} comparisons shows an improvement; the most favourable is {where}"
        )
    if result.losses:
        harmed = wording.joined([f"{row.name} on {row.task.name}" for row in result.losses])
        verdict += f"; {harmed} did harm"
    if result.collapsed:
        fallen = wording.joined([f"{row.name} on {row.task.name}" for row in result.collapsed])
        verdict += f"; the texts of {fallen} collapse at that strength"
    if not result.gains:
        verdict += f"; {_detects(best)}"
    cautions = dict.fromkeys(c for row in (result.gains or rows) for c in row.cautions)
    if cautions:
        verdict += f" ({', '.join(cautions)})"
    prefix = f"{model}: " if len(evidence.analysis.models) > 1 else ""
    return Finding(f"{prefix}{verdict}.", tables=(_table(model, result.compared),))


def _words(row: Row) -> str:
    text = gain_words(row)
    if row.p_adjusted is None:
        return text
    p = wording.p_value(row.p_adjusted)
    shown_p = f"< {p[1:]}" if p.startswith("<") else f"= {p}"
    return f"{text}, adjusted p\N{NO-BREAK SPACE}{shown_p}"


def _detects(row: Row) -> str:
    assert row.comparison is not None
    return wording.detectable(row.mde or 0.0, row.metric, row.comparison.effect.se)


def _table(model: str, rows: Sequence[Row]) -> Table:
    headings = (
        Heading("Method", numeric=False),
        Heading("On", numeric=False),
        Heading("Difference", "With the interval of a single comparison, not adjusted"),
        Heading("Adjusted p"),
        Heading("Verdict", numeric=False),
        Heading("Detects", "Least difference that this design detects (5 %, power 80 %)"),
    )
    lines = []
    for row in rows:
        assert row.comparison is not None
        p = row.p_adjusted
        detects = _detects(row).removeprefix("this design detects ")
        lines.append(
            (
                Shown(row.name),
                Shown(f"{row.task.name} · {row.metric.name}"),
                Shown(gain_words(row), row.comparison.effect.estimate),
                ABSENT if p is None else Shown(wording.p_value(p), p),
                Shown(verdict_words(row), note=row.caution),
                Shown(detects, row.mde),
            )
        )
    return Table(f"q4-verdicts-{model}", f"Improvements: {model}", headings, tuple(lines))
