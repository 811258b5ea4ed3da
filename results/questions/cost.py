"""Question 1: what does steering cost, and what do several steps of a flow?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steereval.results.questions.amounts import bytes_words, count_words
from steereval.results.questions.blocks import (
    ABSENT,
    Answer,
    Curves,
    Figure,
    Finding,
    Heading,
    Line,
    Scatter,
    Shown,
    Table,
    shown,
)
from steereval.results.questions.effects import brief_of, gain_of, targets, unit_of
from steereval.results.questions.estimate import CHANGE, SPEED, Estimate, mean_of, of_columns
from steereval.results.questions.evidence import COMMAND, FLOW, Evidence, Setting, Where
from steereval.results.questions.matrix import Matrix
from steereval.results.store.diagnosis import UNSTEERED

QUESTION = "What does steering cost?"
QUESTION_OF_FLOWS = "What does multi-step integration cost?"
METHOD = (
    "Texts are decoded one after the other, with and without each steerer in turn; the speeds of a "
    "round are compared as ratios, so that what slows the machine down slows both. Operations and "
    "bytes are counted."
)

USUAL_STEPS = 10
"""Of the published method."""

RESOLVED = 0.05
"""Half of an interval that is wider than this resolves no cost worth knowing."""

PUBLISHED_METHOD = "odesteer"
PUBLISHED = (
    ("Falcon-7B", 117.69, 107.41),
    ("Mistral-7B-v0.3", 116.26, 105.89),
    ("Llama-3.1-8B", 114.82, 106.76),
)
"""(model, unsteered, ODESteer) in tokens per second: Zhao et al. 2026 (arXiv 2602.17560)."""


@dataclass(frozen=True)
class CostLine:
    """Cost of one variant of a method."""

    setting: Setting
    """Method and strength."""

    steps: int | None
    """Steps of the integrator, where they were varied."""

    logs: Matrix
    """[repetitions, seeds], logarithms of tokens per second."""

    speed: Estimate
    """Tokens per second."""

    change: Estimate | None
    """Relative change of the speed against the unsteered model; None for that itself."""


def cost(evidence: Evidence) -> Answer | None:
    """The answer; None unless the speed of decoding was measured by itself.

    The speeds of a run's cells say nothing of it: cells share work.
    """
    findings = tuple(_diagnosed(evidence, where) for where in _timed(evidence))
    question = QUESTION_OF_FLOWS if evidence.raises(FLOW) else QUESTION
    return Answer(1, question, METHOD, findings) if findings else None


def speed_changes(evidence: Evidence) -> dict[tuple[str, str, str], Estimate]:
    """{(model, layers, label): relative change of decoding speed}, of what was timed."""
    changes: dict[tuple[str, str, str], Estimate] = {}
    for where in _timed(evidence):
        lines = [line for line in _lines(evidence, where) if line.change is not None]
        for setting in dict.fromkeys(line.setting for line in lines):
            change = _line_of(lines, setting).change
            if change is not None:
                changes[where.model, where.layer, setting.method] = change
    return changes


def _timed(evidence: Evidence) -> list[Where]:
    """The places to speak of: a cost does not depend on the contrast set, so it is measured for one
    of those of a model and its layers."""
    places = list(evidence.places)
    known = {
        (where.model, where.layer): where
        for where in places
        if any(line.change is not None for line in _lines(evidence, where))
    }
    return [where for where in places if known.get((where.model, where.layer), where) == where]


def _diagnosed(evidence: Evidence, where: Where) -> Finding:
    lines = list(_lines(evidence, where))
    subject = evidence.subject(where, [li.setting for li in lines if li.change is not None])
    effects = tuple(_effects(evidence, where.model, lines)) if evidence.is_first(where) else ()
    if subject is None:
        sentence = (
            "Not measured: the speed of decoding with and without steerers, which "
            f"{COMMAND} measures."
        )
        return Finding(evidence.named(where, sentence), False, figures=effects)
    sentence = _sentence(evidence, where, lines, subject)
    has_published = any(evidence.kind(label) == PUBLISHED_METHOD for label in evidence.steered)
    tables = (_table(evidence, where, lines), *([_published(where)] if has_published else []))
    figures: tuple[Figure, ...] = (*_steps(where, lines, subject.method), *effects)
    return Finding(evidence.named(where, sentence), tables=tables, figures=figures)


def _lines(evidence: Evidence, where: Where) -> Iterator[CostLine]:
    """The unsteered model first."""
    rows = evidence.rows(where, "tokens_per_second")
    matrices = list(evidence.split(rows, "method", "strength", "steps"))
    plain = next((m for key, m in matrices if key[0] == UNSTEERED), None)
    for (method, strength, steps), matrix in matrices:
        logs = of_columns(np.log(matrix.values), matrix)
        change = None
        if plain is not None and method != UNSTEERED:
            change = _ratio(evidence, logs, of_columns(np.log(plain.values), plain))
        yield CostLine(
            Setting(str(method), float(strength)),
            None if math.isnan(steps) else int(steps),
            logs,
            mean_of(matrix, evidence.confidence),
            change,
        )


def _ratio(evidence: Evidence, ours: Matrix, theirs: Matrix) -> Estimate | None:
    """The relative change from `theirs` to `ours`, both logarithms."""
    paired = ours.minus(theirs)
    if paired is None:
        return None
    return mean_of(paired, evidence.confidence).exponential().shifted(-1.0)


def _sentence(evidence: Evidence, where: Where, lines: Sequence[CostLine], subject: Setting) -> str:
    subject_line = _line_of(lines, subject)
    plain = next(line for line in lines if line.setting.method == UNSTEERED)
    assert subject_line.change is not None
    speeds = (
        f"{subject.words} decodes {subject_line.speed.words(SPEED)} tokens per second against "
        f"{plain.speed.words(SPEED)} unsteered ({subject_line.change.words(CHANGE)})"
    )
    share = _share_of_operations(evidence, where, subject)
    if share is not None:
        speeds += (
            f" and takes {100 * share:.2g}\N{NO-BREAK SPACE}% of the model's operations for a token"
        )
    method_lines = [line for line in lines if line.setting.method == subject.method]
    variants = {line.steps: line for line in method_lines if line.steps}
    if len(variants) < 2 or 1 not in variants:
        return f"{speeds}."
    most = USUAL_STEPS if USUAL_STEPS in variants else max(variants)
    steps = _ratio(evidence, variants[most].logs, variants[1].logs)
    if steps is None:
        return f"{speeds}."
    verdict = "costs no measurable speed"
    if (steps.high - steps.low) / 2 > RESOLVED:
        verdict = "has a cost below the resolution of these timings"
    if steps.high < 0.0:
        verdict = "slows decoding down"
    elif steps.low > 0.0:
        verdict = "was not slower here, even a little faster"
    return (
        f"Integrating in {most} steps instead of one {verdict} ({steps.words(CHANGE)}): {speeds}."
    )


def _line_of(lines: Sequence[CostLine], subject: Setting) -> CostLine:
    """The method as the grid has it: without a number of steps, else with the usual one."""
    setting_lines = [line for line in lines if line.setting == subject]
    usual = [line for line in setting_lines if line.steps in (None, USUAL_STEPS)]
    return min(usual or setting_lines, key=lambda line: line.steps or 0)


def _share_of_operations(evidence: Evidence, where: Where, subject: Setting) -> float | None:
    """Operations of the steerer over those of the model."""
    model = _counted(evidence, where, "flops_per_token", UNSTEERED)
    steerer = _counted(evidence, where, "flops_per_token", subject.method)
    return None if model is None or steerer is None or not model else steerer / model


def _counted(
    evidence: Evidence, where: Where, quantity: str, method: str, steps: int | None = None
) -> float | None:
    """A count, which does not vary; the one of `steps` where steps have counts of their own."""
    rows = evidence.rows(where, quantity, method=method)
    if steps is not None and bool((rows["steps"] == steps).any()):
        rows = rows[rows["steps"] == steps]
    elif bool(rows["steps"].isna().any()):
        rows = rows[rows["steps"].isna()]
    return None if rows.empty else float(rows["value"].mean())


def _table(evidence: Evidence, where: Where, lines: Sequence[CostLine]) -> Table:
    headings = (
        Heading("Method", numeric=False),
        Heading("Strength"),
        Heading("Steps", "Of the integrator, where they were varied"),
        Heading("Tokens/s", "Decoding one text after the other"),
        Heading("Against unsteered", "Relative change of the speed, paired by round"),
        Heading("Operations a token", "Of the steerer; for the unsteered model its own"),
        Heading("Memory", "Of the steerer's tensors"),
    )
    rows = []
    for line in lines:
        method = line.setting.method
        flops = _counted(evidence, where, "flops_per_token", method, line.steps)
        size = _counted(evidence, where, "steerer_bytes", method, line.steps)
        rows.append(
            (
                Shown("unsteered" if method == UNSTEERED else method),
                ABSENT if method == UNSTEERED else _number(line.setting.strength),
                ABSENT if line.steps is None else Shown(str(line.steps), line.steps),
                shown(line.speed, SPEED),
                shown(line.change, CHANGE),
                ABSENT if flops is None else Shown(count_words(flops), flops),
                ABSENT if size is None else Shown(bytes_words(size), size),
            )
        )
    return Table(f"q1-cost-{where.name}", f"Cost: {where.words}", headings, tuple(rows))


def _published(where: Where) -> Table:
    headings = (
        Heading("Model", numeric=False),
        Heading("Unsteered, tokens/s"),
        Heading("ODESteer, tokens/s"),
        Heading("Change"),
    )
    rows = tuple(
        (
            Shown(model),
            Shown(f"{plain:g}", plain),
            Shown(f"{steered:g}", steered),
            Shown(f"{100 * (steered / plain - 1):+.1f} %", steered / plain),
        )
        for model, plain, steered in PUBLISHED
    )
    caption = "Published for ODESteer (Zhao et al. 2026); not measured here"
    return Table(f"q1-published-{where.name}", caption, headings, rows, True)


def _steps(where: Where, lines: Sequence[CostLine], method: str) -> Iterator[Figure]:
    """Speed against unsteered over the number of steps."""
    by_steps = sorted(
        (li for li in lines if li.setting.method == method and li.steps and li.change is not None),
        key=lambda line: line.steps or 0,
    )
    if len(by_steps) < 2:
        return
    places = tuple(float(line.steps or 0) for line in by_steps)
    estimates = tuple(line.change for line in by_steps if line.change is not None)
    yield Curves(
        name=f"q1-steps-{where.name}",
        title=f"Speed over the number of steps: {where.words}",
        x_label="steps of the integrator",
        y_label="speed against unsteered, %",
        unit=CHANGE,
        lines=(Line(method, places, estimates),),
        levels=(("unsteered", 0.0),),
        ticks=tuple((place, f"{place:g}") for place in places),
        is_log_x=True,
    )


def _effects(evidence: Evidence, model: str, lines: Sequence[CostLine]) -> Iterator[Figure]:
    """Effect over measured speed for each target task of a model."""
    measured = {line.setting.method: line.change for line in lines if line.change is not None}
    rows = targets(evidence, model)
    for task in dict.fromkeys(row.task.name for row in rows):
        points = []
        for row in (row for row in rows if row.task.name == task):
            speed, gain = measured.get(row.arm.method), gain_of(row)
            if speed is not None and gain is not None:
                points.append((brief_of(row, rows), speed, gain))
        if points:
            metric = next(row.metric for row in rows if row.task.name == task)
            unit = unit_of(metric)
            yield Scatter(
                name=f"q1-effect-{model}-{task}",
                title=f"Effect over speed: {model}, {task}",
                x_label="speed against unsteered, %",
                y_label=f"gain, {unit.name} → better",
                units=(CHANGE, unit),
                points=tuple(points),
            )


def _number(value: float) -> Shown:
    return Shown(f"{value:g}", value)
