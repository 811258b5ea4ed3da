"""The opening of the report: the verdict in short sentences, counts, and how verdicts look."""

from __future__ import annotations

from collections import Counter

from steereval.results.analysis import verdicts, wording
from steereval.results.analysis.conclusion import NOT_TESTED, verdict_words
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.analysis.selection import NOT_CHOSEN
from steereval.results.analysis.verdicts import IMPROVEMENTS
from steereval.results.store.manifest import RATIO

TONES = {
    verdicts.MEANINGFUL: "good",
    verdicts.BETTER: "good",
    verdicts.EQUIVALENT: "even",
    verdicts.NON_INFERIOR: "even",
    verdicts.INCONCLUSIVE: "open",
    verdicts.WORSE: "bad",
}
MARKS = {"good": "▲", "bad": "▼", "even": "=", "open": "○", "harm": "◆", "none": "–"}
"""A shape for each tone, so that verdicts differ without colour."""


def summary(analysis: Analysis) -> list[str]:
    """Counts of verdicts, cells and cautions, in a few sentences."""
    sentences = [_count_of_verdicts(analysis), _count_of_cells(analysis)]
    tested = [row for row in analysis.rows if row.is_primary and row.comparison is not None]
    cautions = Counter(caution for row in tested for caution in row.cautions)
    if cautions:
        counts = (f"{caution} ({n})" for caution, n in cautions.most_common())
        sentences.append(f"Cautions, of {len(tested)} compared: {', '.join(counts)}.")
    if any(row.how_chosen == NOT_CHOSEN for row in analysis.rows):
        sentences.append(
            f"Strengths marked “{NOT_CHOSEN}” stand side by side; the best of several looks better "
            "than it is."
        )
    return [sentence for sentence in sentences if sentence]


def tone_of(row: Row) -> str:
    """The tone of a row's verdict; "harm" for a gain whose texts collapse, "none" without one."""
    if row.verdict is None:
        return "none"
    is_gain = row.verdict.word in IMPROVEMENTS
    return "harm" if is_gain and row.is_collapsed else TONES[row.verdict.word]


def marked_verdict(row: Row) -> str:
    """The verdict behind the shape of its tone."""
    words = verdict_words(row)
    return words if row.is_baseline else f"{MARKS[tone_of(row)]} {words}"


def p_words(row: Row, alpha: float) -> str:
    """The p-value that the verdict rests on; where adjusting changes what it says, both."""
    if row.verdict is None or row.comparison is None:
        return row.untested
    if row.verdict.p_margin is not None:
        return f"p of no loss beyond the margin {_p(row.verdict.p_margin)}"
    adjusted = 1.0 if row.p_adjusted is None else row.p_adjusted
    alone = row.comparison.effect.p_value
    text = f"adjusted p {_p(adjusted)}"
    return f"{text}, alone {_p(alone)}" if alone < alpha <= adjusted else text


def role_words(row: Row) -> str:
    """The part that a task plays, with its margin in words."""
    margin = row.task.margin if verdicts.margin_of(row.task, row.metric) is not None else None
    role = "to be improved" if row.task.is_target else "to be kept"
    if margin is None:
        return role
    meaning = "least effect of interest" if row.task.is_target else "margin"
    if row.metric.kind == RATIO:
        return f"{role}, {meaning} a factor of {1 + margin:g}"
    unit = " points" if row.metric.in_points else ""
    return f"{role}, {meaning} {wording.scale_of(row.metric) * margin:g}{unit}"


def legend() -> tuple[tuple[str, str, str], ...]:
    """(tone, its shape, what it means), for the line below the matrix."""
    meanings = {
        "good": "better",
        "harm": "better, but texts collapse",
        "even": "equivalent or non-inferior",
        "open": "inconclusive",
        "bad": "worse",
    }
    return tuple((tone, MARKS[tone], meaning) for tone, meaning in meanings.items())


def _p(value: float) -> str:
    text = wording.p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _count_of_verdicts(analysis: Analysis) -> str:
    rows = [row for row in analysis.rows if row.is_confirmatory]
    if not rows:
        return ""
    words = Counter(NOT_TESTED if r.verdict is None else r.verdict.word for r in rows)
    order = [*verdicts.VOCABULARY, NOT_TESTED]
    counts = ", ".join(f"{words[word]} {word}" for word in order if words[word])
    plural = "comparison" if len(rows) == 1 else "comparisons"
    return f"{len(rows)} confirmatory {plural}: {counts}."


def _count_of_cells(analysis: Analysis) -> str:
    cells = analysis.cells
    text = f"{cells.done} of {cells.planned} planned cells finished"
    if cells.failed:
        text += f", {cells.failed} failed"
    if cells.pending:
        text += f", {cells.pending} have not run"
    missing = cells.failed + cells.pending
    return text + (": the results are of those that finished." if missing else ".")
