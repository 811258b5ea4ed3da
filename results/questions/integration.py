"""Question 3: is the ODE needed, or would a few gradient steps on h do?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steereval.results.analysis.leaderboard import Row
from steereval.results.questions.barrier import CROSSFIT
from steereval.results.questions.blocks import (
    ABSENT,
    Answer,
    Curves,
    Figure,
    Finding,
    Heading,
    Line,
    Shown,
    Table,
    capital,
    shown,
)
from steereval.results.questions.effects import between, targets, unit_of
from steereval.results.questions.estimate import (
    ERROR,
    NATS,
    PLAIN,
    Estimate,
    difference_of,
    mean_of,
)
from steereval.results.questions.evidence import BARRIER, COMMAND, FLOW, Evidence, Setting, Where
from steereval.results.questions.matrix import Matrix

QUESTION = "Is the ODE needed, or would a few gradient steps on h do?"
METHOD = (
    "Every method moves the same held-out activations by the same distance, and h of a barrier "
    "that was fitted on other data is read before and after; the methods are compared pair by "
    "pair. Where the grid ran them at equal displacement, their effects on tasks are too. "
    "Solvers are compared with a reference solution of many small steps: the distance of the ends, "
    "as a share of the displacement."
)

USUAL_STEPS = 10
"""Of the published method."""

DISPLACEMENT = "displacement"
"""The unit of strengths that say how far a method displaces."""


@dataclass(frozen=True)
class Gain:
    """The ODE and another method at one displacement."""

    ode: Setting
    """The ODE; the strength is the displacement in median norms."""

    rival: Setting
    """The other one."""

    ode_gain: Estimate
    """Gain in h."""

    rival_gain: Estimate
    """Likewise."""

    difference: Estimate
    """The ODE's less the other's, paired."""


@dataclass(frozen=True)
class Error:
    """The distance of a solver's ends from the reference solution."""

    solver: str
    """The solver's name."""

    steps: int
    """Its steps."""

    distance: Estimate
    """As a share of the displacement."""


def integration(evidence: Evidence) -> Answer | None:
    """The answer; None if no method integrates a field, or nothing of it was measured."""
    if not evidence.raises(FLOW):
        return None
    findings = [_finding(evidence, where) for where in evidence.places]
    if not findings:
        findings = [f for m in evidence.analysis.models if (f := _from_rows(evidence, m))]
    return Answer(3, QUESTION, METHOD, tuple(findings)) if findings else None


def _finding(evidence: Evidence, where: Where) -> Finding:
    gains = list(_gains(evidence, where))
    errors = list(_errors(evidence, where))
    matched = _matched(evidence, where.model) if evidence.is_first(where) else []
    missing = (
        "Not measured: the ODE and another method at equal displacement, for which the grid needs "
        f"both and {COMMAND}"
    )
    first = next(_gain_words(evidence, gains), missing)
    more = (
        *_error_words(errors),
        *_one_step_words(evidence, where),
        *_matched_words(matched),
    )
    tables = (*_gain_table(where, gains), *_error_table(where, errors), *_match_table(matched))
    figures = (*_gain_figure(evidence, where), *_error_figure(where, errors))
    return Finding(
        evidence.named(where, f"{first}."),
        bool(gains or errors or matched),
        tuple(f"{capital(text)}." for text in more),
        tables,
        figures,
    )


def _at_displacement(evidence: Evidence, where: Where) -> Mapping[Setting, Matrix]:
    return evidence.matrices(where, "gain_at_displacement", judge=CROSSFIT)


def _gains(evidence: Evidence, where: Where) -> Iterator[Gain]:
    """The first ODE of the grid against every other method, at each displacement."""
    matrices = _at_displacement(evidence, where)
    odes = [s for s in matrices if _is_ode(evidence, s.method)]
    label = min((s.method for s in odes), key=evidence.rank, default="")
    for ode in (setting for setting in odes if setting.method == label):
        for rival, theirs in matrices.items():
            if rival.method == ode.method or rival.strength != ode.strength:
                continue
            difference = difference_of(matrices[ode], theirs, evidence.confidence)
            if difference is not None:
                ours, other = (mean_of(m, evidence.confidence) for m in (matrices[ode], theirs))
                yield Gain(ode, rival, ours, other, difference)


def _gain_words(evidence: Evidence, gains: Sequence[Gain]) -> Iterator[str]:
    """The closest rival at the largest displacement."""
    if not gains:
        return
    gain = min(gains, key=lambda g: (_closeness(evidence, g.rival.method), -g.ode.strength))
    ode, rival = gain.ode.method, gain.rival.method
    verdict = f"No gain of the ODE over {rival} is seen"
    if gain.difference.low > 0.0:
        verdict = f"The ODE gains over {rival}"
    elif gain.difference.high < 0.0:
        verdict = f"The ODE falls behind {rival}"
    yield (
        f"{verdict}: displacing by {gain.ode.strength:g} median norms, {ode} raises h of a barrier "
        f"fitted on other data by {gain.ode_gain.words(NATS)} and {rival} by "
        f"{gain.rival_gain.words(NATS)}, a difference of {gain.difference.words(NATS)}"
    )


def _is_ode(evidence: Evidence, label: str) -> bool:
    return FLOW in evidence.traits(label)


def _closeness(evidence: Evidence, label: str) -> tuple[bool, bool, int]:
    """Rivals that climb the same kind of barrier without integrating come first, then others that
    do not integrate, in the order of the grid."""
    traits = evidence.traits(label)
    return FLOW in traits, BARRIER not in traits, evidence.order(label)


def _errors(evidence: Evidence, where: Where) -> Iterator[Error]:
    rows = evidence.rows(where, "endpoint_distance")
    if rows.empty:
        return
    settings = evidence.settings(rows)
    kinds = [setting for setting in settings if _is_ode(evidence, setting.method)] or settings
    if not kinds:
        return
    setting = evidence.usual(where, kinds[0].method, kinds)
    setting_rows = rows[(rows["method"] == setting.method) & (rows["strength"] == setting.strength)]
    for (solver, steps), matrix in evidence.split(setting_rows, "solver", "steps"):
        yield Error(str(solver), int(steps), mean_of(matrix, evidence.confidence))


def _error_words(errors: Sequence[Error]) -> Iterator[str]:
    euler = {error.steps: error for error in errors if error.solver == "euler"}
    if not euler:
        return
    usual: list[int] = [steps for steps in (1, 10) if steps in euler]
    sizes = " and ".join(
        f"{euler[steps].distance.words(ERROR)} with {steps} step{'s' if steps > 1 else ''}"
        for steps in usual or [max(euler)]
    )
    yield f"Euler's ends are off the exact solution by {sizes}, as a share of the displacement"


def _one_step_words(evidence: Evidence, where: Where) -> Iterator[str]:
    """How far the usual number of steps ends from one, of the ODE at its usual strength."""
    rows = evidence.rows(where, "one_step_distance")
    settings = evidence.settings(rows) if not rows.empty else []
    odes = [setting for setting in settings if _is_ode(evidence, setting.method)]
    if not odes:
        return
    setting = evidence.usual(where, odes[0].method, odes)
    setting_rows = rows[(rows["method"] == setting.method) & (rows["strength"] == setting.strength)]
    by_steps = {int(steps): matrix for (steps,), matrix in evidence.split(setting_rows, "steps")}
    steps = USUAL_STEPS if USUAL_STEPS in by_steps else max(by_steps)
    distance = mean_of(by_steps[steps], evidence.confidence)
    yield (
        f"{steps} steps of {setting.words} end "
        f"{distance.words(PLAIN)} from where one step ends, in units of the activations"
    )


def _matched(evidence: Evidence, model: str) -> list[tuple[Row, Row, Estimate]]:
    """(ODE, other, gain of the ODE over it) on tasks, where both ran at equal displacement."""
    rows = [row for row in targets(evidence, model) if _is_matched(evidence, row)]
    matched = []
    for ode in (row for row in rows if _is_ode(evidence, row.arm.method)):
        for row in rows:
            gain = between(ode, row, evidence.confidence) if _are_alike(ode, row) else None
            if gain is not None:
                matched.append((ode, row, gain))
    return matched


def _is_matched(evidence: Evidence, row: Row) -> bool:
    """Whether its strengths are displacements."""
    method = evidence.method(row.arm.method)
    return method is not None and method.unit == DISPLACEMENT


def _are_alike(ode: Row, row: Row) -> bool:
    """Whether they differ in the method alone."""
    same = (ode.task.name, ode.arm.layer, {*ode.strengths.values()}) == (
        *(row.task.name, row.arm.layer, {*row.strengths.values()}),
    )
    return same and ode.arm.method != row.arm.method


def _matched_words(matched: Sequence[tuple[Row, Row, Estimate]]) -> Iterator[str]:
    if matched:
        ode, row, gain = matched[0]
        yield (
            f"at equal displacement the effect of {ode.name} on {ode.task.name} less that of "
            f"{row.name} is {gain.words(unit_of(ode.metric))}"
        )


def _from_rows(evidence: Evidence, model: str) -> Finding | None:
    """Results of rows at equal displacement."""
    matched = _matched(evidence, model)
    if not matched:
        return None
    _, row, gain = matched[0]
    verdict = f"No gain of the ODE over {row.arm.method} is seen"
    if gain.low > 0.0:
        verdict = f"The ODE gains over {row.arm.method}"
    elif gain.high < 0.0:
        verdict = f"The ODE falls behind {row.arm.method}"
    (words,) = _matched_words(matched)
    sentence = f"{verdict}: {words}."
    if len(evidence.analysis.models) > 1:
        sentence = f"{model}: {sentence}"
    return Finding(sentence, tables=_match_table(matched))


def _gain_table(where: Where, gains: Sequence[Gain]) -> tuple[Table, ...]:
    if not gains:
        return ()
    headings = (
        Heading("Compared with", numeric=False),
        Heading("Displacement", "In median norms of the activations"),
        Heading(f"{gains[0].ode.method} raises h by"),
        Heading("The other raises h by"),
        Heading("Difference", "Paired by activation and fit seed"),
    )
    rows = tuple(
        (
            Shown(gain.rival.method),
            Shown(f"{gain.ode.strength:g}", gain.ode.strength),
            shown(gain.ode_gain, NATS),
            shown(gain.rival_gain, NATS),
            shown(gain.difference, NATS),
        )
        for gain in gains
    )
    caption = f"{gains[0].ode.method} and the others at equal displacement: {where.words}"
    return (Table(f"q3-gains-{where.name}", caption, headings, rows),)


def _error_table(where: Where, errors: Sequence[Error]) -> tuple[Table, ...]:
    if not errors:
        return ()
    solvers = list(dict.fromkeys(error.solver for error in errors))
    distances = {(error.steps, error.solver): error.distance for error in errors}
    headings = (Heading("Steps", numeric=False), *(Heading(solver) for solver in solvers))
    rows = tuple(
        (
            Shown(str(steps), steps),
            *(
                shown(distances[steps, s], ERROR) if (steps, s) in distances else ABSENT
                for s in solvers
            ),
        )
        for steps in sorted({error.steps for error in errors})
    )
    caption = f"Distance from the exact ends, as a share of the displacement: {where.words}"
    return (Table(f"q3-errors-{where.name}", caption, headings, rows),)


def _match_table(matched: Sequence[tuple[Row, Row, Estimate]]) -> tuple[Table, ...]:
    if not matched:
        return ()
    headings = (
        Heading("ODE", numeric=False),
        Heading("Compared with", numeric=False),
        Heading("On", numeric=False),
        Heading("Gain of the ODE", "Paired by item and fit seed"),
    )
    rows = tuple(
        (
            Shown(ode.name),
            Shown(row.name),
            Shown(f"{ode.task.name} · {ode.metric.name}"),
            shown(gain, unit_of(ode.metric)),
        )
        for ode, row, gain in matched
    )
    model = matched[0][0].model
    caption = f"Effects on tasks at equal displacement: {model}"
    return (Table(f"q3-matched-{model}", caption, headings, rows),)


def _gain_figure(evidence: Evidence, where: Where) -> Iterator[Figure]:
    matrices = _at_displacement(evidence, where)
    lines = []
    labels = list(dict.fromkeys(setting.method for setting in matrices))
    odes = [label for label in labels if _is_ode(evidence, label)]
    for label in dict.fromkeys([*odes[:1], *labels]):
        settings = sorted((s for s in matrices if s.method == label), key=lambda s: s.strength)
        estimates = tuple(mean_of(matrices[s], evidence.confidence) for s in settings)
        lines.append(Line(label, tuple(s.strength for s in settings), estimates))
    if any(len(line.places) > 1 for line in lines):
        yield Curves(
            name=f"q3-gains-{where.name}",
            title=f"Gain in h over the displacement: {where.words}",
            x_label="displacement, median norms",
            y_label="gain in h, nats (fitted on other data)",
            unit=PLAIN,
            lines=tuple(lines),
            levels=(("unsteered", 0.0),),
        )


def _error_figure(where: Where, errors: Sequence[Error]) -> Iterator[Figure]:
    lines = []
    for solver in dict.fromkeys(error.solver for error in errors):
        solver_errors = sorted((e for e in errors if e.solver == solver), key=lambda e: e.steps)
        places = tuple(float(error.steps) for error in solver_errors)
        lines.append(Line(solver, places, tuple(error.distance for error in solver_errors)))
    places = tuple(sorted({place for line in lines for place in line.places}))
    if len(places) > 1:
        yield Curves(
            name=f"q3-errors-{where.name}",
            title=f"Distance from the exact ends: {where.words}",
            x_label="steps of the integrator",
            y_label="share of the displacement, %",
            unit=ERROR,
            lines=tuple(lines),
            ticks=tuple((place, f"{place:g}") for place in places),
            is_log_x=True,
            is_log_y=True,
        )
