"""The rows of the leaderboard: every arm on every task and metric, against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.candidates import Candidate, chosen_on, reported_candidates
from steereval.results.analysis.collapse import Collapse
from steereval.results.analysis.comparison import Comparison, compare, untestable
from steereval.results.analysis.inputs import Cost, Source
from steereval.results.analysis.pairing import Pair, one_side, pair
from steereval.results.analysis.score import Score, score_of
from steereval.results.analysis.scores import Arm, Seed, TaskScores
from steereval.results.analysis.selection import NOT_CHOSEN
from steereval.results.analysis.verdicts import Verdict, detectable_effect
from steereval.results.store.manifest import RATIO, Metric, Task

NO_BASELINE = "the baseline has no finished cell"
NO_BASELINE_SCORES = "the baseline has no scores of this metric"
NO_CELLS = "none of its cells finished"
REDUCED = "reduced training"
NO_SCORE = "it has no test item with a score in every fit seed"


@dataclass(frozen=True)
class Row:
    """One arm on one model, task and metric."""

    model: str
    """The model's label."""

    task: Task
    """The task, with its role and margin."""

    metric: Metric
    """The metric, with its kind and direction."""

    arm: Arm
    """Method and layers."""

    is_baseline: bool
    """Whether the arm is what the others are compared with."""

    strengths: Mapping[Seed, float]
    """{fit seed: strength}; empty if no cell finished."""

    how_chosen: str
    """How the strength was chosen, in words; empty for the baseline."""

    n_candidates: int
    """Number of strengths among which it was chosen; 0 if it was not chosen."""

    validation_score: float | None
    """The chosen strengths' mean validation score, where they were chosen by this very metric."""

    score: Score | None
    """Over its own test items; None if there are none."""

    comparison: Comparison | None
    """Against the baseline; None for the baseline itself, and where `untested` says why."""

    untested: str
    """Why there is no comparison; empty if there is one, or if this is the baseline."""

    n_dropped_items: int
    """Test items of the task that some arm lacks, and that are left out of every row."""

    n_dropped_seeds: int
    """Planned fit seeds of the arm that the row lacks, since cells of theirs are missing."""

    cost: Cost
    """Measured cost of running."""

    displacement: float | None
    """Mean |y - x| by which a steered token was moved at a site; None where it is not recorded."""

    is_reduced: bool
    """Whether its networks were trained for less than the method asks."""

    family: str = ""
    """"confirmatory" or "exploratory"; empty for the baseline."""

    p_adjusted: float | None = None
    """Adjusted within its family; None without a comparison."""

    rank: tuple[int, int] | None = None
    """Interval of its rank among the arms of this model, task and metric."""

    verdict: Verdict | None = None
    """None for the baseline, and where nothing could be compared."""

    collapse: Collapse | None = None
    """Where the arm's texts on this task collapse, by the metric that collapses first; None if
    they do not, or if nothing shows it."""

    @property
    def is_primary(self) -> bool:
        """Whether the metric is the task's primary one."""
        return self.metric.name == self.task.primary

    @property
    def is_confirmatory(self) -> bool:
        """Whether it belongs to the family of methods × target tasks of its model."""
        return self.task.is_target and self.is_primary and not self.is_baseline

    @property
    def is_unseeded(self) -> bool:
        """Whether nothing random was fitted."""
        return bool(self.strengths) and set(self.strengths) == {None}

    @property
    def collapses_from(self) -> float | None:
        """The smallest strength from which on the arm's texts collapse on this task."""
        begins = None if self.collapse is None else self.collapse.begins
        return None if begins is None else begins.strength

    @property
    def is_collapsed(self) -> bool:
        """Whether they collapse at a strength of this very row."""
        start = self.collapses_from
        return start is not None and any(x >= start for x in self.strengths.values())

    @property
    def cautions(self) -> tuple[str, ...]:
        """Cautions for the reader: few seeds, training cut short."""
        effect = None if self.comparison is None else self.comparison.effect
        cautions = () if effect is None else effect.marks if self.is_unseeded else effect.cautions
        return (*cautions, REDUCED) if self.is_reduced else cautions

    @property
    def caution(self) -> str:
        """The cautions in one line."""
        return ", ".join(self.cautions)

    @property
    def mde(self) -> float | None:
        """The least difference that this design detects, in the effect's unit."""
        return (
            None
            if self.comparison is None
            else detectable_effect(self.comparison.effect, self.metric)
        )

    @property
    def name(self) -> str:
        """The arm, with its strength where every strength is a row of its own."""
        if self.how_chosen != NOT_CHOSEN or not self.strengths:
            return self.arm.label
        return f"{self.arm.label}, strength {next(iter(self.strengths.values())):g}"

    @property
    def variance_shares(self) -> tuple[float, float, float] | None:
        """Shares of items, seeds and residual in the variance of the difference.

        None with one seed, which cannot tell them apart, and where nothing varies.
        """
        if self.comparison is None or self.comparison.effect.n_seeds == 1:
            return None
        e = self.comparison.effect
        parts = np.array([e.var_item, e.var_seed, e.var_residual]) / [
            e.n_items,
            e.n_seeds,
            e.n_items * e.n_seeds,
        ]
        if not 0 < parts.sum() < np.inf:
            return None
        item, seed, residual = (float(part) for part in parts / parts.sum())
        return item, seed, residual


def rows_of_table(source: Source, model: str, task: Task, metric: Metric) -> list[Row]:
    """The rows of one model, task and metric: the baseline, then the arms of the grid."""
    return [
        _Builder(source, model, task, metric, candidate).row()
        for candidate in reported_candidates(source, model, task)
    ]


@dataclass(frozen=True)
class _Builder:
    """State while one row is made."""

    source: Source
    model: str
    task: Task
    metric: Metric
    candidate: Candidate

    @property
    def scores(self) -> TaskScores | None:
        return self.source.scores.get((self.model, self.task.name))

    def row(self) -> Row:
        setting = self.candidate.setting
        is_baseline = setting.arm.method == self.source.plan.baseline
        score = self._score()
        paired, untested = (None, "") if is_baseline else self._pair(score)
        comparison = None if paired is None else self._compare(paired)
        planned = self.source.planned_seeds(self.model, self.task.name, setting.arm)
        seeds = set(setting.strengths) if paired is None else set(paired.seeds)
        choices = self.candidate.choices.values()
        by_itself = chosen_on(self.source, self.task, self.metric)
        return Row(
            model=self.model,
            task=self.task,
            metric=self.metric,
            arm=setting.arm,
            is_baseline=is_baseline,
            strengths=setting.strengths,
            how_chosen=self.candidate.how_chosen,
            n_candidates=max((choice.n_candidates for choice in choices), default=0),
            validation_score=self.candidate.validation_score() if by_itself else None,
            score=score,
            comparison=comparison,
            untested=NO_CELLS if is_baseline and score is None else untested,
            n_dropped_items=self._n_dropped(),
            n_dropped_seeds=len(planned - seeds),
            cost=self.source.cost(self.model, self.task.name, setting),
            displacement=self.source.displacement(self.model, self.task.name, setting),
            is_reduced=setting.arm.method in self.source.plan.reduced,
        )

    def _n_dropped(self) -> int:
        if self.scores is None:
            return 0
        concerned = self.scores.is_test & self.scores.concerned(self.metric.name)
        left_out = concerned & ~self.scores.tested(self.metric.name)
        return int(np.count_nonzero(left_out))

    def _score(self) -> Score | None:
        if self.scores is None:
            return None
        ratio = self.metric.kind == RATIO
        side = one_side(self.scores, self.candidate.setting, self.metric.name, ratio)
        if side is None:
            return None
        confidence = self.source.plan.confidence
        return score_of(side, self.metric, self.scores, confidence)

    def _pair(self, score: Score | None) -> tuple[Pair | None, str]:
        """The setting paired with the baseline, or the reason why no comparison is possible."""
        if self.scores is None or not self.candidate.setting.strengths:
            return None, NO_CELLS
        if score is None:
            return None, NO_SCORE
        ratio = self.metric.kind == RATIO
        baseline = self.source.baseline(self.model, self.task.name)
        if one_side(self.scores, baseline, self.metric.name, ratio) is None:
            return None, NO_BASELINE_SCORES if baseline.strengths else NO_BASELINE
        settings = (self.candidate.setting, baseline)
        paired = pair(
            self.scores, *settings, self.metric.name, ratio, self.scores.tested(self.metric.name)
        )
        reason = untestable(paired, self.metric)
        return (paired, "") if reason is None else (None, reason)

    def _compare(self, paired: Pair) -> Comparison | None:
        if self.scores is None:
            return None
        return compare(paired, self.metric, self.scores, self.source.plan.confidence)
