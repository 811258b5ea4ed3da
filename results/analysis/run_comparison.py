"""Two runs compared: the same arms on the same items, and in what the runs themselves differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steereval.results.analysis.candidates import Candidate, chooses_layers, reported_candidates
from steereval.results.analysis.comparison import Comparison, compare, untestable
from steereval.results.analysis.headline import headline
from steereval.results.analysis.inputs import Source
from steereval.results.analysis.joined_scores import Joined, joined, setting_of
from steereval.results.analysis.leaderboard import NO_CELLS
from steereval.results.analysis.pairing import Setting, Strengths, one_side, pair
from steereval.results.analysis.score import Score, score_of
from steereval.results.analysis.scores import Arm, load_scores
from steereval.results.analysis.selection import NOT_CHOSEN
from steereval.results.analysis.verdicts import Verdict, detectable_effect, judge
from steereval.results.stats import adjust
from steereval.results.store.cell_record import SETTING_COLUMNS
from steereval.results.store.content import check_content, content_of_cell
from steereval.results.store.diff import Difference, differences
from steereval.results.store.manifest import RATIO, Manifest, Metric, Task, parse_plan
from steereval.results.store.run_folder import RunFolder

IDENTICAL = "identical"
"""The verdict where every item has the same score in both runs."""


@dataclass(frozen=True)
class OneRun:
    """A run, with what a comparison needs of it."""

    name: str
    """How the user calls it."""
    source: Source
    """Plan and scores."""
    manifest: Manifest
    """As it was read."""


@dataclass(frozen=True)
class ArmPair:
    """An arm of both runs on one model, task and metric; differences are second - first."""

    model: str
    """The model's name."""
    task: Task
    """As the first run has it."""
    metric: Metric
    """Likewise."""
    arm: Arm
    """Method and layers in the first run."""
    other_arm: Arm
    """The same in the second run; of another layer only where both runs choose layers."""
    strengths: tuple[Strengths, Strengths]
    """By fit seed, in the first and the second run."""
    scores: tuple[Score | None, Score | None]
    """Over the items that both tested."""
    comparison: Comparison | None
    """None where `untested` says why."""
    untested: str
    """Why nothing is compared; empty if something is."""
    p_adjusted: float | None = None
    """Within the primary metrics of all tasks of the model, or within its others."""
    verdict: Verdict | None = None
    """The verdict; None without a comparison, and where all scores are the same."""

    @property
    def is_primary(self) -> bool:
        """Whether the metric is the task's primary one."""
        return self.metric.name == self.task.primary

    @property
    def is_identical(self) -> bool:
        """Whether every item has the same score in both runs, in every seed."""
        return self.comparison is not None and not self.comparison.values.any()

    @property
    def word(self) -> str:
        """The verdict in a word."""
        if self.is_identical:
            return IDENTICAL
        return self.verdict.word if self.verdict is not None else "not tested"

    @property
    def mde(self) -> float | None:
        """The least difference that this design detects, in the effect's unit."""
        return (
            None
            if self.comparison is None
            else detectable_effect(self.comparison.effect, self.metric)
        )


@dataclass(frozen=True)
class TwoRuns:
    """The second run compared with the first."""

    first: OneRun
    """The reference run."""
    second: OneRun
    """The run that is compared with it."""
    arms: tuple[ArmPair, ...]
    """Arms of the same name, by model, task and metric in the order of the first run."""
    only_first: tuple[str, ...]
    """Settings that only the first run planned, in words."""
    only_second: tuple[str, ...]
    """Settings that only the second run planned."""
    n_same: int
    """Cells of one id and content in both: they compute the same."""
    n_changed: int
    """Settings of one name that compute something else, by their ids or what they were computed
    from."""
    grid: tuple[Difference, ...]
    """In what the grids differ; how they run is left out."""
    versions: tuple[Difference, ...]
    """In what versions, machines, and the content of models, tasks and contrast sets differ."""
    notes: tuple[str, ...]
    """Parts that are left out, with the reason."""


def open_run(name: str, run: RunFolder) -> OneRun:
    """Read what a comparison needs. Raises StoreError."""
    manifest = run.read_manifest()
    plan = parse_plan(manifest)
    check_content(run, manifest, run.records())
    return OneRun(name, Source(plan, load_scores(run, plan.repeats), {}), manifest)


def compare_runs(first: OneRun, second: OneRun) -> TwoRuns:
    """Every arm that both runs have, paired by item and fit seed."""
    pairs: list[ArmPair] = []
    notes: list[str] = []
    for (model, name), scores in first.source.scores.items():
        task, others = first.source.plan.tasks.get(name), second.source.scores.get((model, name))
        if task is None or others is None:
            continue
        both = joined(scores, others)
        notes += _notes(model, name, both)
        for metric in first.source.metrics(model, task):
            ways = {run.directions.get(metric.name) for run in (scores, others)}
            if len(ways) == 1:
                pairs += _of_table(_Table(first.source, second.source, both, model, task, metric))
            elif None not in ways:
                notes.append(
                    f"{metric.name} of {name} is not compared: of one run more is better, of the "
                    "other less."
                )
    settings = [_settings(first, second), _settings(second, first)]
    same_name = settings[0].keys() & settings[1].keys()
    n_same = sum(settings[0][key] == settings[1][key] for key in same_name)
    return TwoRuns(
        first=first,
        second=second,
        arms=tuple(_judged(pairs, first.source)),
        only_first=tuple(_in_words([k for k in settings[0] if k not in settings[1]])),
        only_second=tuple(_in_words([k for k in settings[1] if k not in settings[0]])),
        n_same=n_same,
        n_changed=len(same_name) - n_same,
        grid=tuple(differences(_keyed(first.manifest), _keyed(second.manifest))),
        versions=tuple(differences(_made_with(first, second), _made_with(second, first))),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Table:
    """One model, task and metric of both runs."""

    first: Source
    second: Source
    both: Joined
    model: str
    task: Task
    metric: Metric

    @property
    def is_ratio(self) -> bool:
        return self.metric.kind == RATIO


def _of_table(table: _Table) -> list[ArmPair]:
    by_layer = not (chooses_layers(table.first) and chooses_layers(table.second))
    first, second = (
        _rows_of(source, table.model, table.task, by_layer)
        for source in (table.first, table.second)
    )
    return [
        _pair(table, here.setting, there.setting)
        for key, firsts in first.items()
        for here, there in _matching(firsts, second.get(key, []))
    ]


def _rows_of(
    source: Source, model: str, task: Task, by_layer: bool
) -> dict[tuple[str, str], list[Candidate]]:
    """The reported settings of one run by method, and by layer unless layers are chosen."""
    rows: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in reported_candidates(source, model, task):
        arm = candidate.setting.arm
        is_any_layer = candidate.is_layer_chosen and not by_layer
        rows.setdefault((arm.method, "" if is_any_layer else arm.layer), []).append(candidate)
    return rows


def _matching(
    firsts: Sequence[Candidate], others: Sequence[Candidate]
) -> Iterator[tuple[Candidate, Candidate]]:
    """Pairs of settings of two runs: their rows, or rows of equal strength where each strength is a
    row."""
    if len(firsts) == len(others) == 1 and NOT_CHOSEN not in (
        firsts[0].how_chosen,
        others[0].how_chosen,
    ):
        yield firsts[0], others[0]
        return
    for here in firsts:
        for there in others:
            if set(here.setting.strengths.values()) == set(there.setting.strengths.values()):
                yield here, there


def _pair(table: _Table, setting: Setting, other: Setting) -> ArmPair:
    scores, metric = table.both.scores, table.metric
    sides = setting_of(setting, 0), setting_of(other, 1)
    confidence = table.first.plan.confidence
    paired = pair(
        scores, sides[1], sides[0], metric.name, table.is_ratio, scores.tested(metric.name)
    )
    reason = untestable(paired, metric)
    if not (setting.strengths and other.strengths):
        reason = NO_CELLS
    alone = [one_side(scores, side, metric.name, table.is_ratio) for side in sides]
    first, second = (
        None if side is None else score_of(side, metric, scores, confidence) for side in alone
    )
    return ArmPair(
        model=table.model,
        task=table.task,
        metric=metric,
        arm=setting.arm,
        other_arm=other.arm,
        strengths=(setting.strengths, other.strengths),
        scores=(first, second),
        comparison=None
        if paired is None or reason is not None
        else compare(paired, metric, scores, confidence),
        untested=reason or "",
    )


def _judged(pairs: Sequence[ArmPair], source: Source) -> list[ArmPair]:
    """With p-values adjusted within the primary metrics of a model, and within all others of it."""
    judged_pairs = [_with_headline(each) for each in pairs]
    families: dict[tuple[str, bool], list[int]] = {}
    for place, each in enumerate(judged_pairs):
        if each.comparison is not None and not each.is_identical:
            families.setdefault((each.model, each.is_primary), []).append(place)
    for (_, is_primary), places in families.items():
        p_values = [
            c.effect.p_value for i in places if (c := judged_pairs[i].comparison) is not None
        ]
        adjusted = adjust(p_values, "holm" if is_primary else "bh")
        for place, p in zip(places, adjusted, strict=True):
            each = judged_pairs[place]
            if each.comparison is not None:
                alpha = source.plan.alpha
                verdict = judge(each.comparison.effect, float(p), each.metric, each.task, alpha)
                judged_pairs[place] = replace(each, p_adjusted=float(p), verdict=verdict)
    return judged_pairs


def _with_headline(each: ArmPair) -> ArmPair:
    if each.comparison is None:
        return each
    return replace(each, comparison=headline(each.comparison, each.metric))


def _notes(model: str, task: str, both: Joined) -> Iterator[str]:
    if both.n_only_first or both.n_only_second:
        yield (
            f"{model} on {task}: {both.n_only_first} items are in the first run only and "
            f"{both.n_only_second} in the second only; they are left out."
        )
    if repeated := both.scores.n_repeated:
        yield (
            f"{model} on {task}: {repeated} items repeat the content of another; items of the same "
            "content are one cluster."
        )
    if both.n_split:
        yield (
            f"{model} on {task}: {both.n_split} items are left out, since one run tested them and "
            "the other chose strengths on them."
        )


_Setting = tuple[Any, ...]
_SHOWN = SETTING_COLUMNS[:5]
"""Model, method, strength, layer and task: the others are seeds."""


def _settings(run: OneRun, other: OneRun) -> dict[_Setting, object]:
    """{setting: what it computes} of the planned cells: the cell's id, and the content that it is
    computed from, as far as both runs say it."""
    known = other.manifest.content
    return {
        cell.setting: (cell.cell_id, content_of_cell(run.manifest, cell, known))
        for cell in run.source.plan.cells
    }


def _in_words(settings: Sequence[_Setting]) -> list[str]:
    """A line for each model, task, method, layer and strength, with its number of cells."""
    counts = Counter(setting[: len(_SHOWN)] for setting in settings)
    return [
        f"{Arm(method, layer).label}, strength {strength:g}, on {task}, {model}: "
        f"{count} cell{'' if count == 1 else 's'}"
        for (model, method, strength, layer, task), count in counts.items()
    ]


def _keyed(manifest: Manifest) -> dict[str, Any]:
    """The grid without how it runs; models, methods and tasks go by name, not by order."""
    return {
        key: {str(each.get("label") or each["name"]): each for each in value}
        if key in ("models", "methods", "tasks")
        else value
        for key, value in manifest.grid.items()
        if key != "run"
    }


def _made_with(run: OneRun, other: OneRun) -> dict[str, Any]:
    """Versions and machine, and the content of what both runs are computed from."""
    known = other.manifest.content
    common = {subject: parts for subject, parts in run.manifest.content.items() if subject in known}
    return {
        "content": common,
        "versions": run.manifest.versions,
        "machine": run.manifest.machine,
    }
