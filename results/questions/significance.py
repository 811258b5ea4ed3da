"""Question 4: is the improvement significant?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from steereval.results import verdicts, wording
from steereval.results.leaderboard import Row
from steereval.results.questions.effects import gain_words, targets
from steereval.results.questions.evidence import Evidence
from steereval.results.questions.parts import ABSENT, Answer, Finding, Heading, Shown, Table, joined
from steereval.results.verdicts import oriented

QUESTION = "Is the improvement significant?"
METHOD = (
    "The verdicts of the confirmatory family: every method on every target task of a model, by "
    "the primary metric, paired by item and fit seed, corrected for their number. The leaderboard "
    "has all that they rest on."
)

GAINS = (verdicts.MEANINGFUL, verdicts.BETTER)


def significance(evidence: Evidence) -> Answer | None:
    """The answer; None if nothing was compared."""
    findings = tuple(
        _finding(evidence, model, rows)
        for model in evidence.analysis.models
        if (rows := targets(evidence, model))
    )
    return Answer(4, QUESTION, METHOD, findings) if findings else None


def _finding(evidence: Evidence, model: str, rows: Sequence[Row]) -> Finding:
    gains = [row for row in rows if row.verdict is not None and row.verdict.word in GAINS]
    worse = [row for row in rows if row.verdict is not None and row.verdict.word == verdicts.WORSE]
    best = max(gains or rows, key=_size)
    where = f"{best.name} on {best.task.name} ({_words(best)})"
    verdict = (
        f"No: none of {len(rows)} comparisons shows an improvement; the most favourable is {where}"
    )
    if len(rows) == 1:
        verdict = f"No: {where} is no improvement that could be told from chance"
    if gains:
        which = "it is" if len(gains) == 1 else "the clearest is"
        verdict = (
            f"{'Yes' if len(gains) == len(rows) else 'In part'}: {len(gains)} of {len(rows)} "
            f"comparison{'s' if len(rows) > 1 else ''} show{'s' if len(gains) == 1 else ''} an "
            f"improvement; {which} {where}"
        )
    if worse:
        verdict += f"; {joined([f'{r.name} on {r.task.name}' for r in worse])} did harm"
    if not gains:
        verdict += f"; {_detects(best)}"
    cautions = list(dict.fromkeys(c for row in (gains or rows) for c in row.cautions))
    if cautions:
        verdict += f" ({', '.join(cautions)})"
    prefix = f"{model}: " if len(evidence.analysis.models) > 1 else ""
    return Finding(f"{prefix}{verdict}.", tables=(_table(model, rows),))


def _size(row: Row) -> float:
    """How clear a gain is: over its standard error."""
    assert row.comparison is not None
    effect = oriented(row.comparison.effect, row.metric)
    if not 0.0 < effect.se < math.inf:
        return math.copysign(math.inf, effect.estimate) if effect.estimate else 0.0
    return effect.estimate / effect.se


def _words(row: Row) -> str:
    text = gain_words(row)
    if row.p_adjusted is None:
        return text
    p = wording.p_value(row.p_adjusted)
    joined_p = f"< {p[1:]}" if p.startswith("<") else f"= {p}"
    return f"{text}, adjusted p\N{NO-BREAK SPACE}{joined_p}"


def _detects(row: Row) -> str:
    assert row.comparison is not None
    return wording.detectable(row.mde or 0.0, row.metric, row.comparison.effect.se)


def _table(model: str, rows: Sequence[Row]) -> Table:
    headings = (
        Heading("Method", numeric=False),
        Heading("On", numeric=False),
        Heading("Difference"),
        Heading("Adjusted p"),
        Heading("Verdict", numeric=False),
        Heading("Detects", "Least difference that this design detects (5 %, power 80 %)"),
    )
    lines = []
    for row in sorted(rows, key=_size, reverse=True):
        assert row.comparison is not None
        p = row.p_adjusted
        detects = _detects(row).removeprefix("this design detects ")
        lines.append(
            (
                Shown(row.name),
                Shown(f"{row.task.name} · {row.metric.name}"),
                Shown(gain_words(row), row.comparison.effect.estimate),
                ABSENT if p is None else Shown(wording.p_value(p), p),
                Shown("–" if row.verdict is None else row.verdict.word, note=row.caution),
                Shown(detects, row.mde),
            )
        )
    return Table(f"q4-verdicts-{model}", f"Improvements: {model}", headings, tuple(lines))
