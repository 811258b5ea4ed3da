"""Question 8: how nonlinear is the field?"""

from __future__ import annotations

from collections.abc import Mapping

from steereval.results.questions.blocks import (
    Answer,
    Dots,
    Finding,
    Heading,
    Shown,
    Table,
    dots_of,
    shown,
)
from steereval.results.questions.estimate import (
    COSINE,
    DEGREES,
    PLAIN,
    Estimate,
    Unit,
    cosine_of,
    mean_of,
)
from steereval.results.questions.evidence import COMMAND, CONSTANT, Evidence, Setting, Where

QUESTION = "How nonlinear is the field?"
METHOD = (
    "The direction in which a method moves an activation is compared with its directions at the "
    "other held-out activations and with mean(P) - mean(N): a field that is the same everywhere "
    "has cosine 1 and is a constant vector in all but name. The field counts as nearly constant "
    "where the interval of the mean cosine lies above 0.95. Paths are compared with their chords."
)

CONSTANT_FROM = 0.95
"""Mean cosine that still counts as one direction for all."""

UNITS: Mapping[str, Unit] = {
    "field_cosine": COSINE,
    "mean_difference_cosine": COSINE,
    "path_stretch": PLAIN,
    "turning": DEGREES,
}
"""The quantities of this question."""

Measured = Mapping[str, Mapping[Setting, Estimate]]
"""{quantity: {setting: estimate}}."""


def nonlinearity(evidence: Evidence) -> Answer | None:
    """The answer; None without a diagnosis, or where every method is a constant vector."""
    varied = any(CONSTANT not in evidence.traits(label) for label in evidence.steered)
    if not evidence.places or not varied:
        return None
    findings = tuple(_finding(evidence, where) for where in evidence.places)
    return Answer(8, QUESTION, METHOD, findings)


def _finding(evidence: Evidence, where: Where) -> Finding:
    matrices = {
        name: {
            setting: (cosine_of if unit is COSINE else mean_of)(matrix, evidence.confidence)
            for setting, matrix in evidence.matrices(where, name).items()
        }
        for name, unit in UNITS.items()
    }
    subject = evidence.subject(where, list(matrices["field_cosine"]))
    if subject is None:
        sentence = f"Not measured: the directions of the methods, which {COMMAND} measures."
        return Finding(evidence.named(where, sentence), False)
    return Finding(
        evidence.named(where, _sentence(subject, matrices)),
        tables=(_table(where, matrices),),
        figures=(_figure(evidence, where, matrices),),
    )


def _sentence(subject: Setting, measured: Measured) -> str:
    cosine = measured["field_cosine"][subject]
    verdict = "varies from place to place"
    if cosine.low >= CONSTANT_FROM:
        verdict = "is nearly constant"
    elif cosine.high >= CONSTANT_FROM:
        verdict = "may be nearly constant"
    text = (
        f"The field of {subject.words} {verdict}: its direction at one activation has cosine "
        f"{cosine.words(COSINE)} with those at the others"
    )
    if (mean := measured["mean_difference_cosine"].get(subject)) is not None:
        text += f" and {mean.words(COSINE)} with mean(P) - mean(N)"
    stretch, turning = (measured[name].get(subject) for name in ("path_stretch", "turning"))
    if stretch is not None:
        text += f"; its paths are {stretch.words(PLAIN)} times as long as their chords"
    if turning is not None:
        text += (
            f"{' and' if stretch is not None else '; its paths'} turn by {turning.words(DEGREES)}"
        )
    return f"{text}."


def _table(where: Where, measured: Measured) -> Table:
    headings = (
        Heading("Method", numeric=False),
        Heading("With other places", "Mean cosine of the direction with that at other activations"),
        Heading("With the mean difference", "Cosine of the direction with mean(P) - mean(N)"),
        Heading("Path over chord", "Length of the path over the distance of its ends"),
        Heading("Turning", "Angle between the first and the last step of the path"),
    )
    settings = dict.fromkeys(setting for name in UNITS for setting in measured[name])
    rows = tuple(
        (
            Shown(setting.method, note=setting.at),
            *(shown(measured[name].get(setting), unit) for name, unit in UNITS.items()),
        )
        for setting in settings
    )
    return Table(f"q8-field-{where.name}", f"Directions: {where.words}", headings, rows)


def _figure(evidence: Evidence, where: Where, measured: Measured) -> Dots:
    settings = evidence.usuals(where, list(measured["field_cosine"]))
    kinds = [
        *dots_of("with other places", settings, measured["field_cosine"]),
        *dots_of("with the mean difference", settings, measured["mean_difference_cosine"]),
    ]
    return Dots(
        name=f"q8-cosines-{where.name}",
        title=f"Cosine of the direction: {where.words}",
        x_label="cosine",
        unit=COSINE,
        labels=tuple(setting.brief for setting in settings),
        kinds=tuple(kinds),
        levels=(("one direction for all", 1.0),),
    )
