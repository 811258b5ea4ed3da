"""The questions that the methods of a grid raise, as far as a run answers them."""

from __future__ import annotations

from steereval.results.questions.barrier import barrier
from steereval.results.questions.blocks import Answer
from steereval.results.questions.contrast import contrast
from steereval.results.questions.cost import cost
from steereval.results.questions.evidence import Evidence
from steereval.results.questions.integration import integration
from steereval.results.questions.nonlinearity import nonlinearity
from steereval.results.questions.positions import positions
from steereval.results.questions.significance import significance
from steereval.results.questions.trajectories import trajectories

ALL = (
    *(cost, positions, integration, significance),
    *(contrast, barrier, trajectories, nonlinearity),
)
"""In the order of their numbers. Each gives None where no method of the grid raises it."""


def answers_of(evidence: Evidence) -> tuple[Answer, ...]:
    """The answers in the order of the questions.

    Without a diagnosis those that the rows and the manifest give; with one all that the methods
    raise, and what is missing from it is said in the answer.
    """
    answers = (answer(evidence) for answer in ALL)
    return tuple(answer for answer in answers if answer is not None)
