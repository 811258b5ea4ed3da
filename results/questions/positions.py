"""Question 2: which tokens were the activations taken from, and which were steered?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steereval.results.analysis.leaderboard import Row
from steereval.results.questions.blocks import (
    ABSENT,
    Answer,
    Curves,
    Finding,
    Heading,
    Line,
    Shown,
    Table,
    shown,
)
from steereval.results.questions.effects import gain_words, targets
from steereval.results.questions.estimate import (
    AUC,
    AUC_CHANGE,
    Estimate,
    auc_of,
    auc_values,
    difference_of,
)
from steereval.results.questions.evidence import COMMAND, Evidence, Setting, Where
from steereval.results.questions.matrix import Matrix

QUESTION = "Which tokens were the activations taken from, and which were steered?"
METHOD = (
    "The score of a method, its barrier or its projection on the direction in which "
    "it moves activations, is read at the token where steerers are fitted and at those where "
    "steering acts. The AUC says how well it separates held-out statements of the two classes "
    "there; 0.5 is chance."
)

FITTED = {"last": "the last token of the text", "mean": "the mean of the answer's tokens"}
"""Where steerers can be fitted, in words."""

MIDDLE = 4
"""The token of the answer that stands for the middle of a generation, where it was measured."""

TOLERATED = 0.1
"""A probe keeps its power where a greater loss of AUC than this lies outside the interval."""

POSITION_WORDS = {
    "last": "last token",
    "query": "end of the question",
    "mean": "mean of the answer",
}

Scores = Mapping[str, Matrix]
"""{position: scores} of one setting."""


@dataclass(frozen=True)
class Positions:
    """How well one setting separates the classes, by position."""

    setting: Setting
    """The setting."""

    areas: Mapping[str, Estimate]
    """{position: AUC}."""

    fitted: str
    """The position where the method is fitted."""

    middle: str | None
    """The position that stands for the middle of a generation; None if none was measured."""

    change: Estimate | None
    """AUC there less that where it was fitted, on the same items; None without either."""


def positions(evidence: Evidence) -> Answer:
    """The answer; what was recorded is always known."""
    findings = [_finding(evidence, where) for where in evidence.places]
    if not findings:
        findings = [Finding(f"{_recorded(evidence)}.", tables=_plan_tables(evidence))]
    return Answer(2, QUESTION, METHOD, tuple(findings))


def _finding(evidence: Evidence, where: Where) -> Finding:
    positions = [
        _positions(evidence, setting, scores) for setting, scores in _scores(evidence, where)
    ]
    positions = [each for each in positions if each.areas]
    tables = _plan_tables(evidence) if where == evidence.places[0] else ()
    subject = evidence.subject(where, [each.setting for each in positions])
    if subject is None:
        sentence = f"{_recorded(evidence)}; not measured: the AUC there, which {COMMAND} measures."
        return Finding(evidence.named(where, sentence), tables=tables)
    subject_positions = next(each for each in positions if each.setting == subject)
    sentence = f"{_recorded(evidence)}; {_in_words(subject_positions)}."
    by_setting = {each.setting: each for each in positions}
    usual = evidence.usuals(where, list(by_setting))
    figure = _figure(where, [by_setting[setting] for setting in usual])
    return Finding(
        evidence.named(where, sentence),
        tables=(*tables, _table(where, positions)),
        figures=(figure,),
    )


def _scores(evidence: Evidence, where: Where) -> Iterator[tuple[Setting, Scores]]:
    rows = evidence.rows(where, "probe_score")
    by_setting: dict[Setting, dict[str, Matrix]] = {}
    for (method, strength, position), matrix in evidence.split(
        rows, "method", "strength", "position"
    ):
        by_setting.setdefault(Setting(str(method), float(strength)), {})[str(position)] = matrix
    yield from by_setting.items()


def _positions(evidence: Evidence, setting: Setting, scores: Scores) -> Positions:
    ordered = {name: scores[name] for name in sorted(scores, key=_rank)}
    areas = {
        name: area
        for name, matrix in ordered.items()
        if (area := auc_of(matrix, evidence.confidence)) is not None
    }
    tokens = [name for name in areas if _token(name)]
    middle = min(tokens, key=lambda name: abs(_token(name) - MIDDLE), default=None)
    fit = evidence.fitted(setting.method)
    fitted = "last" if fit is None else fit.token
    change = None
    if middle is not None and fitted in areas:
        common = ordered[middle].items.intersection(ordered[fitted].items)
        ours, theirs = (auc_values(ordered[name].only(common)) for name in (middle, fitted))
        if ours is not None and theirs is not None:
            change = difference_of(ours, theirs, evidence.confidence)
    return Positions(setting, areas, fitted, middle, change)


def _token(position: str) -> int:
    """The number of a token of the answer; 0 for other positions."""
    match = re.fullmatch(r"token (\d+)", position)
    return int(match[1]) if match else 0


def _rank(position: str) -> tuple[int, int]:
    """Question, then tokens of the answer, then their mean, then the last."""
    order = {"query": 0, "mean": 2, "last": 3}
    return order.get(position, 1), _token(position)


def _recorded(evidence: Evidence) -> str:
    """Positions of fitting and steering in the manifest."""
    steered = _steered(evidence)
    places = dict.fromkeys(_fitted_at(evidence, label) for label in steered) or [FITTED["last"]]
    fitted = f"Steerers are fitted at {' or '.join(places)}"
    tokens = " or ".join(f"“{name}”" for name in dict.fromkeys(steered.values()))
    return f"{fitted} and steer the tokens {tokens}" if steered else fitted


def _fitted_at(evidence: Evidence, label: str) -> str:
    fit = evidence.fitted(label)
    token = "last" if fit is None else fit.token
    return FITTED.get(token, token)


def _steered(evidence: Evidence) -> dict[str, str]:
    """{label: which tokens it steers}, of the methods that steer."""
    return {
        label: method.positions
        for label, method in evidence.manifest.methods.items()
        if method.positions and label != evidence.analysis.plan.baseline
    }


def _in_words(of: Positions) -> str:
    name = of.setting.method
    if of.middle is None or of.fitted not in of.areas:
        position, area = next(iter(of.areas.items()))
        return f"{name} separates the classes with AUC {area.words(AUC)} at {_words(position)}"
    there, here = of.areas[of.middle], of.areas[of.fitted]
    text = (
        f"mid-generation {positions_verdict(name, there, of.change)}: its AUC at {of.middle} of "
        f"the answer is {there.words(AUC)}, where it was fitted {here.words(AUC)}"
    )
    if of.change is not None:
        text += f", a change of {of.change.words(AUC_CHANGE)}"
    return text


def positions_verdict(name: str, there: Estimate, change: Estimate | None) -> str:
    """A clause on whether a probe works mid-generation, from its AUC there and the change to it."""
    probe = f"the probe of {name}"
    if change is not None and change.high < 0.0:
        return f"{probe} {'loses power' if there.low > 0.5 else 'is no better than chance'}"
    if change is not None and change.low > -TOLERATED:
        return f"{probe} keeps its power"
    return f"it is open whether {probe} keeps its power"


def _words(position: str) -> str:
    return POSITION_WORDS.get(position, position)


def _table(where: Where, positions: Sequence[Positions]) -> Table:
    names = sorted({name for each in positions for name in each.areas}, key=_rank)
    headings = (
        Heading("Method", numeric=False),
        *(Heading(_words(name), f"AUC at {_words(name)}") for name in names),
    )
    rows = tuple(
        (
            Shown(each.setting.method, note=each.setting.at),
            *(shown(each.areas.get(name), AUC) for name in names),
        )
        for each in positions
    )
    return Table(f"q2-auc-{where.name}", f"AUC by position: {where.words}", headings, rows)


def _figure(where: Where, positions: Sequence[Positions]) -> Curves:
    names = sorted({name for each in positions for name in each.areas}, key=_rank)
    place = {name: float(i) for i, name in enumerate(names)}
    lines = tuple(
        Line(
            each.setting.method,
            tuple(place[name] for name in each.areas),
            tuple(each.areas.values()),
        )
        for each in positions
    )
    return Curves(
        name=f"q2-auc-{where.name}",
        title=f"AUC by position: {where.words}",
        x_label="position (numbers: tokens of the answer)",
        y_label="AUC of held-out statements",
        unit=AUC,
        lines=lines,
        levels=(("chance", 0.5),),
        ticks=tuple((place[name], name.removeprefix("token ")) for name in names),
    )


def _plan_tables(evidence: Evidence) -> tuple[Table, ...]:
    """Where each method was fitted and steers; effects next to it, where positions differ."""
    steered = _steered(evidence)
    if not steered:
        return ()
    several = len({(_fitted_at(evidence, label), steered[label]) for label in steered}) > 1
    rows = _best(_all_targets(evidence)) if several else {}
    layers = {
        label: ", ".join(
            dict.fromkeys(c.layer for c in evidence.analysis.plan.cells if c.method == label)
        )
        for label in steered
    }
    headings = (
        Heading("Method", numeric=False),
        Heading("Fitted at", numeric=False),
        Heading("Steers the tokens", numeric=False),
        Heading("Layers", numeric=False),
        *((Heading("Effect", "On the first target task of the first model"),) if several else ()),
    )
    lines = tuple(
        (
            Shown(label),
            Shown(_fitted_at(evidence, label)),
            Shown(tokens),
            Shown(layers[label] or "–"),
            *((_effect(rows.get(label)),) if several else ()),
        )
        for label, tokens in steered.items()
    )
    caption = "Tokens that steerers were fitted at, and tokens that they steer"
    return (Table("q2-positions", caption, headings, lines),)


def _all_targets(evidence: Evidence) -> list[Row]:
    """Compared rows of all models on target tasks."""
    return [row for model in evidence.analysis.models for row in targets(evidence, model)]


def _best(rows: Sequence[Row]) -> dict[str, Row]:
    """{label: its first row}."""
    best_rows: dict[str, Row] = {}
    for row in rows:
        best_rows.setdefault(row.arm.method, row)
    return best_rows


def _effect(row: Row | None) -> Shown:
    if row is None or row.comparison is None:
        return ABSENT
    return Shown(gain_words(row), row.comparison.effect.estimate, row.task.name)
