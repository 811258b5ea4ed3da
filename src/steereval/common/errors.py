"""The errors that this program raises on purpose.

    SteerEvalError
    ├── InputError            something that the user gave cannot be used
    │   ├── GridError         the grid file
    │   ├── UnknownNameError  a name that is not registered, with the nearest one that is
    │   ├── ContrastError     a contrast set
    │   ├── TaskError         a task or its data
    │   ├── ModelError        a language model, its tokenizer or its layers
    │   └── ArtefactError     a saved steerer
    ├── FitError              activations from which nothing can be fitted
    ├── FetchError            a download that failed or is not what it should be
    ├── StoreError            a run folder or one of its files
    └── CellError             a cell of the grid that failed while running
        └── ScoringError      one that was answered, and whose answers cannot be scored

Every message is one sentence that names the value, followed by the remedy.
Every folder may import this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from steereval.common.secrets import redacted
from steereval.common.text import visible

LONGEST = 1000
"""Characters of a problem that are kept: it may quote a value of any length."""


class SteerEvalError(Exception):
    """Base of all errors raised on purpose; the command line prints it without a traceback."""

    exit_status = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        """`problem` names the value at fault; `remedy` says what to do about it.

        Both may quote other programs and settings: secrets are redacted, and control characters
        escaped.
        """
        self.problem = _in_short(visible(redacted(problem))).rstrip(".")
        self.remedy = visible(redacted(remedy))
        message = f"{self.problem}. {self.remedy}".strip() if remedy else self.problem
        super().__init__(message)

    def __reduce__(self) -> tuple[type[SteerEvalError], tuple[str, str]]:
        """Survive the trip from a worker process, which pickles exceptions."""
        return type(self), (self.problem, self.remedy)


class InputError(SteerEvalError):
    """Something that the user gave cannot be used."""

    exit_status = 2


class GridError(InputError):
    """The grid file cannot be read or is not valid."""


class UnknownNameError(InputError):
    """A name that is not registered."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """An error for `name`, an unknown `kind` ("method", say), naming the nearest known one."""
        return cls(f"unknown {kind} {name!r}", nearest_remedy(name, known))


class ContrastError(InputError):
    """A contrast set cannot be read or holds nothing that a steerer could be fitted to."""


class TaskError(InputError):
    """A task, or its data, is not available."""


class ModelError(InputError):
    """A language model cannot be loaded or steered as asked."""


class ArtefactError(InputError):
    """A saved steerer is missing, damaged or of another format."""


class FitError(SteerEvalError):
    """Activations from which nothing can be fitted."""


class FetchError(SteerEvalError):
    """A download failed, or is not the file that it should be."""


class StoreError(SteerEvalError):
    """A run folder, or one of its files, cannot be read or written."""


class CellError(SteerEvalError):
    """A cell of the grid failed while it ran."""


class ScoringError(CellError):
    """A cell was answered, and its answers, which are kept, cannot be scored."""


def nearest_remedy(name: str, known: Iterable[str]) -> str:
    """A sentence that names the known name nearest to `name`, or else lists all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(names)}."


def _in_short(problem: str) -> str:
    """A problem without the middle of a long text that it quotes."""
    half = LONGEST // 2
    return problem if len(problem) <= LONGEST else f"{problem[:half]} ... {problem[-half:]}"
