"""All judges by name, and the metrics that a set of them gives a task."""

from __future__ import annotations

from collections.abc import Iterable

from steereval.common.errors import GridError, UnknownNameError, nearest_remedy
from steereval.tasks.catalogue.cards import MetricCard
from steereval.tasks.judges.fluency import FLUENCY
from steereval.tasks.judges.judge import Judge, Scorer
from steereval.tasks.judges.preference import REWARD
from steereval.tasks.judges.toxicity import TOXICITY
from steereval.tasks.judges.truthfulness import INFO, TRUTH, YES

JUDGES: dict[str, Judge] = {j.name: j for j in (TRUTH, INFO, REWARD, TOXICITY, FLUENCY)}

JOINT = "true_informative"
"""1 where an answer is both true and informative: of tasks with both judges."""
WIN = "win"
"""Reward against the unsteered model's: of grids that have it."""
_WIN = MetricCard("bounded", True)


def get_judge(name: str) -> Judge:
    """The judge of that name. Raises UnknownNameError."""
    if name not in JUDGES:
        raise UnknownNameError.of("judge", name, JUDGES)
    return JUDGES[name]


def scorer_of(judge: Judge, name: str | None) -> Scorer:
    """The judge's scorer of that name.

    Raises GridError if `name` is not one of its scorers, or is missing where there are several.
    """
    if (name or "") in judge.scorers:
        return judge.scorers[name or ""]
    if name is None:
        raise GridError(
            f"judge {judge.name} has no scorer",
            f"Add `scorer: ...`, one of: {', '.join(judge.scorers)}.",
        )
    if "" in judge.scorers:
        raise GridError(f"judge {judge.name} has scorer {name!r}", "Remove it: there is no choice.")
    raise GridError(f"judge {judge.name} has scorer {name!r}", nearest_remedy(name, judge.scorers))


def judged_metrics(names: Iterable[str], with_unsteered: bool) -> dict[str, MetricCard]:
    """Metrics of these judges together; with the unsteered model, those of wins too."""
    chosen = [get_judge(name) for name in names]
    metrics = {metric: known for judge in chosen for metric, known in judge.metrics.items()}
    if TRUTH in chosen and INFO in chosen:
        metrics[JOINT] = YES
    if REWARD in chosen and with_unsteered:
        metrics[WIN] = _WIN
    return metrics
