"""Effects of steering on generated texts: their perplexity, from the leaderboard's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.questions.blocks import Heading, Shown, Table
from steereval.results.questions.evidence import Evidence
from steereval.results.store.manifest import RATIO


def text_rows(evidence: Evidence, model: str) -> list[Row]:
    """Rows of the perplexity of what was generated."""
    return [
        row
        for row in evidence.analysis.rows
        if row.model == model and row.metric.kind == RATIO and row.comparison is not None
    ]


def perplexity_words(texts: Sequence[Row], method: str) -> Iterator[str]:
    """The first row of `method` in words; nothing without one."""
    for row in texts:
        if row.arm.method == method and row.comparison is not None:
            words = wording.difference(row.comparison.effect, row.metric)
            name, task = row.name, row.task.name
            yield f"the texts of {name} on {task} have {words} the unsteered perplexity"
            return


def text_table(model: str, rows: Sequence[Row]) -> tuple[Table, ...]:
    """One line a row; no table without rows."""
    if not rows:
        return ()
    headings = (
        Heading("Method", numeric=False),
        Heading("Task", numeric=False),
        Heading("Perplexity, as a factor", "Of generated texts, against the unsteered model's"),
    )
    lines = tuple(
        (
            Shown(row.name),
            Shown(f"{row.task.name} · {row.metric.name}"),
            Shown(
                wording.difference(row.comparison.effect, row.metric),
                row.comparison.effect.estimate,
            ),
        )
        for row in rows
        if row.comparison is not None
    )
    caption = f"Perplexity of what is generated: {model}"
    return (Table(f"q7-texts-{model}", caption, headings, lines),)
