"""The matrix of verdicts: a line for each method and task, gain, harm and cost side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.analysis.selection import IMPORTED, NOT_CHOSEN
from steereval.results.analysis.verdicts import INCONCLUSIVE
from steereval.results.questions.estimate import CHANGE, Estimate
from steereval.results.report.glossary import CORRECTIONS
from steereval.results.report.side_effects import side_effects
from steereval.results.report.summary import marked_verdict, p_words, tone_of
from steereval.results.report.tables.leaderboard import (
    brief_strengths,
    difference_entry,
    rank_entry,
)
from steereval.results.report.tables.table import Column, Entry, Remark, ReportTable

Costs = Mapping[tuple[str, str, str], Estimate]
"""{(model, layers, label): relative change of decoding speed}."""

NAME = "verdict-matrix"

_ABSENT = Entry("–", -math.inf)


def matrix_grid(analysis: Analysis, costs: Costs) -> ReportTable:
    """The primary metric of every method, task and model; targets first, the best rank on top.

    Args:
        analysis: What the run shows.
        costs: Measured cost of steering; without any the column is left out.
    """
    lines = [_Line(row, analysis, costs).entries() for row in matrix_rows(analysis)]
    left_out = {*(() if len(analysis.models) > 1 else ("model",)), *(() if costs else ("cost",))}
    columns = _columns(analysis)
    indices = [i for i, column in enumerate(columns) if column.kind not in left_out]
    where = f": {analysis.models[0]}" if len(analysis.models) == 1 else ""
    return ReportTable(
        NAME,
        f"Verdicts{where}",
        tuple(columns[i] for i in indices),
        tuple(tuple(entries[columns[i].kind] for i in indices) for entries in lines),
        kind="matrix",
    )


def matrix_rows(analysis: Analysis) -> list[Row]:
    """By model, targets before capabilities, task by task, the best rank first."""
    rows = [row for row in analysis.rows if row.is_primary and not row.is_baseline]
    tasks = list(analysis.plan.tasks)

    def key(row: Row) -> tuple[int, bool, int, float, float]:
        model, task = analysis.models.index(row.model), tasks.index(row.task.name)
        best = math.inf if row.rank is None else row.rank[0]
        return model, not row.task.is_target, task, best, -_facing(row)

    return sorted(rows, key=key)


def matrix_words(analysis: Analysis, costs: Costs) -> str:
    """How the matrix is read, in the run's own terms."""
    plan = analysis.plan
    correction = CORRECTIONS.get(plan.correction, plan.correction)
    text = (
        f"Difference: method minus “{plan.baseline}” on the same test items and fit seeds, with "
        f"the {100 * plan.confidence:g} % interval of a single comparison, not adjusted. p-values "
        f"are adjusted by {correction} over the confirmatory comparisons of a model."
    )
    if plan.select is not None:
        chosen = "Layers and strengths" if plan.select.layers else "Strengths"
        text += f" {chosen} were chosen on validation items, which are not reported."
    if not costs and any(row.is_confirmatory for row in analysis.rows):
        text += " The cost of steering was not measured: `steereval diagnose RUN` does."
    return text


def _columns(analysis: Analysis) -> tuple[Column, ...]:
    plan = analysis.plan
    return (
        Column("Method", kind="method"),
        Column("Task", help="With its primary metric; the arrow points to better", kind="task"),
        Column("Model", kind="model"),
        Column("Score", True, f"“{plan.baseline}” → steered, on test items", "score"),
        Column(
            f"Difference [{100 * plan.confidence:g}\N{NO-BREAK SPACE}%, unadjusted]",
            True,
            "With the interval of a single comparison, not adjusted",
            "difference",
        ),
        Column("Verdict", kind="verdict"),
        Column("Strength", True, "Chosen on validation items where it says so", "strength"),
        Column("Items", True, "Test items, and the fit seeds crossed with them", "items"),
        Column("Side effects", help="What else changes, against the baseline", kind="effects"),
        Column("Cost", True, "Measured change of the speed of decoding", "cost"),
        Column("Rank", True, "Interval of ranks that tests of all pairs leave open", "rank"),
    )


@dataclass(frozen=True)
class _Line:
    """One row of the leaderboard as a line of the matrix."""

    row: Row
    analysis: Analysis
    costs: Costs

    def entries(self) -> dict[str, Entry]:
        """{kind of column: entry}."""
        row = self.row
        return {
            "method": Entry(row.arm.method, note=row.arm.layer_words),
            "task": self._task(),
            "model": Entry(row.model),
            "score": self._score(),
            "difference": self._difference(),
            "verdict": self._verdict(),
            "strength": self._strength(),
            "items": self._items(),
            "effects": self._effects(),
            "cost": self._cost(),
            "rank": rank_entry(row),
        }

    def _task(self) -> Entry:
        metric = self.row.metric
        arrow = "↑" if metric.higher_is_better else "↓"
        unit = ", points" if metric.in_points else ""
        purpose = "" if self.row.task.is_target else "; to be kept"
        return Entry(self.row.task.name, note=f"{metric.name}{unit} {arrow}{purpose}")

    def _score(self) -> Entry:
        row = self.row
        if row.score is None:
            return _ABSENT
        rows = self.analysis.rows
        before = next((other.score for other in rows if _is_baseline_of(other, row)), None)
        ends = [score.mean for score in (before, row.score) if score is not None]
        text = " → ".join(wording.score(mean, row.metric) for mean in ends)
        return Entry(text, row.score.mean)

    def _difference(self) -> Entry:
        whole = difference_entry(self.row)
        estimate, bracket, interval = whole.text.partition(" [")
        return replace(whole, text=estimate, note=f"[{interval}" if bracket else "")

    def _verdict(self) -> Entry:
        row = self.row
        return Entry(
            marked_verdict(row),
            -_rank_of_verdict(row),
            tone_of(row),
            remarks=tuple(self._remarks()),
        )

    def _remarks(self) -> Iterator[Remark]:
        """Remarks on the verdict: its p-value, collapse, and limits."""
        row = self.row
        yield Remark(p_words(row, self.analysis.plan.alpha))
        if row.collapses_from is not None:
            yield Remark(f"collapses from strength {row.collapses_from:g} on", "bad")
        if row.verdict is not None and row.verdict.word == INCONCLUSIVE and row.comparison:
            mde = 0.0 if row.mde is None else row.mde
            words = wording.detectable(mde, row.metric, row.comparison.effect.se)
            yield Remark(words.removeprefix("this design "))
        if row.cautions:
            yield Remark(row.caution)

    def _strength(self) -> Entry:
        row = self.row
        if row.how_chosen == IMPORTED or not row.strengths:
            return _ABSENT
        notes = ["by seed"] if len(set(row.strengths.values())) > 1 else []
        notes += [f"best of {row.n_candidates}"] if row.n_candidates > 1 else []
        note = "not chosen" if row.how_chosen == NOT_CHOSEN else ", ".join(notes)
        return Entry(brief_strengths(row), max(row.strengths.values()), note=note)

    def _items(self) -> Entry:
        row = self.row
        if row.comparison is None:
            n_items, n_seeds = (row.score.n_items, row.score.n_seeds) if row.score else (0, 0)
        else:
            n_items, n_seeds = row.comparison.effect.n_items, row.comparison.effect.n_seeds
        if row.is_unseeded:
            return Entry(str(n_items), n_items)
        return Entry(str(n_items), n_items, note=f"{n_seeds} seed{'s' if n_seeds != 1 else ''}")

    def _effects(self) -> Entry:
        remarks = tuple(side_effects(self.row, self.analysis.rows))
        bad = sum(remark.tone == "bad" for remark in remarks)
        return Entry("", bad, remarks=remarks) if remarks else Entry("–", 0)

    def _cost(self) -> Entry:
        arm = self.row.arm
        cost = self.costs.get((self.row.model, arm.layer, arm.method))
        if cost is None:
            return _ABSENT
        return Entry(cost.words(CHANGE).partition(" [")[0], cost.mean, note=_interval(cost))


def _is_baseline_of(other: Row, row: Row) -> bool:
    same = (other.model, other.task.name, other.metric.name)
    return other.is_baseline and same == (row.model, row.task.name, row.metric.name)


def _facing(row: Row) -> float:
    """The score, more for better; -inf without one."""
    if row.score is None or math.isnan(row.score.mean):
        return -math.inf
    return row.score.mean if row.metric.higher_is_better else -row.score.mean


def _rank_of_verdict(row: Row) -> float:
    order = ("good", "harm", "even", "open", "bad", "none")
    return float(order.index(tone_of(row)))


def _interval(estimate: Estimate) -> str:
    return "[" + estimate.words(CHANGE).partition(" [")[2]
