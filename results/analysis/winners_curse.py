"""The winner's curse: the best of several settings looks better where it was chosen than it is.

A strength is chosen on validation items, where chance has helped the winner; the test items, which
took no part in the choice, show what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis.candidates import arms_tried, chosen_on
from steereval.results.analysis.inputs import Source
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.pairing import Setting, Strengths, pair
from steereval.results.analysis.scores import Arm, Mask, Seed, TaskScores
from steereval.results.analysis.selection import NOT_CHOSEN
from steereval.results.store.manifest import RATIO


@dataclass(frozen=True)
class Gain:
    """A setting and the baseline on some items: means over items and fit seeds."""

    score: float
    """The setting's own mean; for a ratio its logarithm."""

    gain: float
    """Its gain over the baseline, with the sign that makes more better; for a ratio the
    logarithm."""


@dataclass(frozen=True)
class Choosing:
    """One arm on the task and metric by which its strength is chosen."""

    row: Row
    """The arm at its chosen strengths."""

    n_candidates: int
    """Settings (strengths, or layers and strengths) that were compared; with 1 nothing was chosen,
    and the gains differ by the items alone."""

    n_validation: int
    """Validation items."""

    on_validation: Gain
    """Of the chosen strengths on the items they were chosen on."""

    on_test: Gain
    """Of the same strengths on the test items."""

    best_on_test: float
    """Gain on the test items had strengths and layer been chosen there; no report may claim it."""

    @property
    def lost(self) -> float:
        """Gain on validation items minus gain on test items."""
        return self.on_validation.gain - self.on_test.gain


def choosings(rows: Sequence[Row], source: Source) -> Iterator[Choosing]:
    """Every arm with a comparison on the task and metric that its strength is chosen by."""
    for row in rows:
        scores = source.scores.get((row.model, row.task.name))
        if scores is None or row.comparison is None or row.how_chosen == NOT_CHOSEN:
            continue
        if chosen_on(source, row.task, row.metric):
            choosing = _Gains(source, scores, row).choosing()
            if choosing is not None:
                yield choosing


@dataclass(frozen=True)
class _Gains:
    source: Source
    scores: TaskScores
    row: Row

    def choosing(self) -> Choosing | None:
        """None where no finite score is left on one side."""
        validation, test = ~self.scores.is_test, self.scores.tested(self.row.metric.name)
        on_validation = self.gain(self.row.arm, self.row.strengths, validation)
        on_test = self.gain(self.row.arm, self.row.strengths, test)
        if on_validation is None or on_test is None:
            return None
        return Choosing(
            row=self.row,
            n_candidates=max(self.row.n_candidates, 1),
            n_validation=int(np.count_nonzero(validation)),
            on_validation=on_validation,
            on_test=on_test,
            best_on_test=self._best(test, on_test.gain),
        )

    def gain(self, arm: Arm, strengths: Strengths, items: Mask) -> Gain | None:
        """Of `arm` at `strengths` on `items`."""
        metric = self.row.metric
        ratio = metric.kind == RATIO
        baseline = self.source.baseline(self.row.model, self.row.task.name)
        setting = Setting(arm, strengths)
        paired = pair(self.scores, setting, baseline, metric.name, ratio, items)
        if paired is None or not paired.items.any() or not (paired.a.finite and paired.b.finite):
            return None
        sides = [side.broadcast(len(paired.seeds)) for side in (paired.a, paired.b)]
        if ratio and not all(side.weights.sum(axis=0).all() for side in sides):
            return None
        ours, theirs = (side.influence(ratio) for side in sides)
        sign = 1.0 if metric.higher_is_better else -1.0
        return Gain(float(ours.mean()), sign * float((ours - theirs).mean()))

    def _best(self, items: Mask, chosen: float) -> float:
        """The gain on `items` of the best layer, each with the best strength of each fit seed."""
        arms = arms_tried(self.source, self.row.model, self.row.task, self.row.arm)
        gains = [gain for arm in arms if (gain := self._best_of(arm, items)) is not None]
        return max(gains, default=chosen)

    def _best_of(self, arm: Arm, items: Mask) -> float | None:
        """The mean over fit seeds of the best strength's gain on `items`."""
        tried: dict[Seed, set[float]] = {}
        for cell in self.scores.cells_of.get(arm, ()):
            tried.setdefault(cell.fit_seed, set()).add(cell.strength)
        best = []
        for seed, strengths in tried.items():
            gains = [self.gain(arm, {seed: strength}, items) for strength in sorted(strengths)]
            known = [gain.gain for gain in gains if gain is not None]
            if known:
                best.append(max(known))
        return float(np.mean(best)) if best else None
