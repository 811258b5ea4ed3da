"""The opening of the report: what the run shows, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steereval.results import verdicts, wording
from steereval.results.analysis import Analysis
from steereval.results.leaderboard import Row
from steereval.results.manifest import RATIO
from steereval.results.selection import NOT_CHOSEN

TONES = {
    verdicts.MEANINGFUL: "good",
    verdicts.BETTER: "good",
    verdicts.EQUIVALENT: "even",
    verdicts.NON_INFERIOR: "even",
    verdicts.INCONCLUSIVE: "open",
    verdicts.WORSE: "bad",
}
NOT_TESTED = "not tested"
MARKS = {"good": "▲", "bad": "▼", "even": "=", "open": "?", "none": "–"}


@dataclass(frozen=True)
class Line:
    """A verdict in words."""

    arm: str
    """What is judged."""

    word: str
    """The verdict, or "not tested"."""

    tone: str
    """A key of MARKS."""

    text: str
    """The difference with its interval and p-value, or why there is none."""

    caution: str
    """What must be known about the seeds; empty if nothing."""

    @property
    def mark(self) -> str:
        """A sign that tells the tone without colour."""
        return MARKS[self.tone]


@dataclass(frozen=True)
class Block:
    """The verdicts of one model on one task's primary metric."""

    model: str
    """The model's label."""

    title: str
    """Task and metric."""

    role: str
    """"to be improved" or "to be kept", with its margin."""

    lines: tuple[Line, ...]
    """One per arm, the most favourable verdict first."""


def verdict_blocks(analysis: Analysis) -> list[Block]:
    """The verdicts on primary metrics: targets first, then capabilities, model by model."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(analysis.rows, key=lambda row: not row.task.is_target):
        if row.is_primary and not row.is_baseline:
            groups.setdefault((row.model, row.task.name), []).append(row)
    ordered = sorted(groups.values(), key=lambda rows: analysis.models.index(rows[0].model))
    return [_block(rows) for rows in ordered]


def summary(analysis: Analysis) -> list[str]:
    """What the run shows as a whole, in a few sentences."""
    sentences = [_count_of_verdicts(analysis), _count_of_cells(analysis)]
    tested = [row for row in analysis.rows if row.comparison is not None]
    cautions = Counter(caution for row in tested for caution in row.cautions)
    for caution, number in cautions.items():
        which = "All" if number == len(tested) else f"{number} of {len(tested)}"
        sentences.append(f"{which} comparisons are marked “{caution}”.")
    if any(row.how_chosen == NOT_CHOSEN for row in analysis.rows):
        sentences.append(
            f"Strengths marked “{NOT_CHOSEN}” stand side by side; the best of several looks better "
            "than it is."
        )
    return [sentence for sentence in sentences if sentence]


def difference_words(row: Row) -> str:
    """The verdict's own sentence with the p-value it rests on."""
    if row.verdict is None:
        return row.untested
    if row.verdict.p_margin is not None:
        p, name = row.verdict.p_margin, "p of no loss beyond the margin"
    else:
        p, name = row.p_adjusted if row.p_adjusted is not None else 1.0, "adjusted p"
    text = wording.p_value(p)
    joined = f"{name} {text}" if text.startswith("<") else f"{name} = {text}"
    joined = joined.replace(f" {text}", f"\N{NO-BREAK SPACE}{text}").replace(
        " =", "\N{NO-BREAK SPACE}="
    )
    return f"{row.verdict.sentence}; {joined}"


def tone_of(row: Row) -> str:
    """The tone of a row's verdict; "none" without one."""
    return "none" if row.verdict is None else TONES[row.verdict.word]


def _block(rows: Sequence[Row]) -> Block:
    task, metric = rows[0].task, rows[0].metric
    direction = "higher is better" if metric.higher_is_better else "lower is better"
    return Block(
        model=rows[0].model,
        title=f"{task.name} · {metric.name}",
        role=f"{role_words(rows[0])}, {direction}",
        lines=tuple(_lines(rows)),
    )


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


def _favour(row: Row) -> int:
    words = verdicts.VOCABULARY
    return len(words) if row.verdict is None else words.index(row.verdict.word)


def _lines(rows: Sequence[Row]) -> Iterator[Line]:
    """One line a verdict; what could not be tested for the same reason shares a line."""
    untested: dict[str, list[str]] = {}
    for row in sorted(rows, key=_favour):
        if row.verdict is None:
            untested.setdefault(row.untested, []).append(row.name)
        else:
            text = difference_words(row)
            yield Line(row.name, row.verdict.word, tone_of(row), text, row.caution)
    for reason, names in untested.items():
        yield Line(", ".join(names), NOT_TESTED, "none", reason, "")


def _count_of_verdicts(analysis: Analysis) -> str:
    rows = [row for row in analysis.rows if row.is_confirmatory]
    if not rows:
        return "No method is compared on a target task."
    words = Counter(NOT_TESTED if r.verdict is None else r.verdict.word for r in rows)
    order = [*verdicts.VOCABULARY, NOT_TESTED]
    counts = ", ".join(f"{words[word]} {word}" for word in order if words[word])
    plural = "comparison" if len(rows) == 1 else "comparisons"
    baseline = analysis.plan.baseline
    return f"{len(rows)} confirmatory {plural} with “{baseline}” on target tasks: {counts}."


def _count_of_cells(analysis: Analysis) -> str:
    cells = analysis.cells
    text = f"{cells.done} of {cells.planned} planned cells finished"
    if cells.failed:
        text += f", {cells.failed} failed"
    if cells.pending:
        text += f", {cells.pending} have not run"
    missing = cells.failed + cells.pending
    return text + (": the results are of those that finished." if missing else ".")
