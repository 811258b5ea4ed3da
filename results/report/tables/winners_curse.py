"""The winner's curse as a table and as a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.winners_curse import Choosing
from steereval.results.report.tables.leaderboard import strength_words, unit_words
from steereval.results.report.tables.table import Column, Entry, ReportTable
from steereval.results.store.manifest import RATIO, Metric

NOTHING_CHOSEN = "No strength was chosen on validation items, so there is no choice to check."

EXPLANATION = (
    "Gains over the baseline at the chosen strengths, on the validation items that they were "
    "chosen on and on the test items. Where several settings (strengths, or layers and strengths) "
    "were tried, chance favours the "
    "winner on validation items; the test items show the rest. With one setting nothing was "
    "chosen: a change there is due to other items alone."
)


def winners_curse_table(choosings: Sequence[Choosing]) -> ReportTable:
    """One line an arm, of one model, task and metric."""
    row = choosings[0].row
    columns = (
        Column("Method"),
        Column("Strength"),
        Column("Tried", True, "Settings that were compared: strengths, or layers and strengths"),
        Column("Score, validation → test", True, "Mean score of the chosen strengths"),
        Column("Gain on validation", True, "Over the baseline on the same items"),
        Column("Gain on test", True, "Over the baseline; what the leaderboard reports"),
        Column("Lost", True, "Gain on validation minus gain on test"),
        Column(
            "Best on test", True, "Had the setting been chosen on the test items: never reported"
        ),
    )
    caption = f"{row.model}: {row.task.name} · {row.metric.name} ({unit_words(row.metric)})"
    name = f"{slug(row.model, row.task.name, row.metric.name)}-choosing"
    return ReportTable(
        name, f"{caption}; {choosing_words(choosings)}", columns, tuple(map(_row, choosings))
    )


def choosing_words(choosings: Sequence[Choosing]) -> str:
    """A sentence on the average cost of the choice, over the arms with several strengths."""
    chosen = [each for each in choosings if each.n_candidates > 1]
    if not chosen:
        return "every method has one strength, so nothing was chosen"
    lost = sum(each.lost for each in chosen) / len(chosen)
    methods = f"{len(chosen)} method{'s' if len(chosen) > 1 else ''} with a choice"
    verb = "lose" if len(chosen) > 1 else "loses"
    if lost < 0:
        verb, lost = ("gain" if len(chosen) > 1 else "gains"), -lost
    average = " on average" if len(chosen) > 1 else ""
    amount = _amount(lost, chosen[0].row.metric)
    return f"{methods} {verb} {amount}{average} from validation to test items"


def gain_words(gain: float, metric: Metric) -> str:
    """A gain in points, as a factor, or in the metric's own unit."""
    if metric.kind == RATIO:
        return f"÷ {wording.factor(gain)}"
    return wording.number(wording.scale_of(metric) * gain, 1 if metric.in_points else 3, True)


def _amount(lost: float, metric: Metric) -> str:
    if metric.kind == RATIO:
        return f"a factor of {wording.factor(lost)}"
    number = wording.number(wording.scale_of(metric) * lost, 1 if metric.in_points else 3)
    return f"{number} points" if metric.in_points else number


def _row(each: Choosing) -> tuple[Entry, ...]:
    row = each.row
    return (
        Entry(row.arm.method, note=row.arm.layer_words),
        Entry(strength_words(row.strengths.items())),
        Entry(str(each.n_candidates), each.n_candidates),
        _scores(each),
        Entry(
            gain_words(each.on_validation.gain, row.metric),
            each.on_validation.gain,
            note=f"{each.n_validation} items",
        ),
        Entry(gain_words(each.on_test.gain, row.metric), each.on_test.gain),
        Entry(gain_words(each.lost, row.metric), each.lost),
        Entry(gain_words(each.best_on_test, row.metric), each.best_on_test),
    )


def _scores(each: Choosing) -> Entry:
    metric, scores = each.row.metric, (each.on_validation.score, each.on_test.score)
    if metric.kind == RATIO:
        shown = [wording.factor(score) for score in scores]
    else:
        decimals = 1 if metric.in_points else 3
        shown = [wording.number(wording.scale_of(metric) * score, decimals) for score in scores]
    return Entry(" → ".join(shown), scores[0])
