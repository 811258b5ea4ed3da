"""Differences where lm-eval's own program, `lm_eval`, runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from steereval.common.errors import SteerEvalError

PROGRAMS = ("lm_eval", "lm-eval")
"""Names of lm-eval's program."""
DEBUG = "STEEREVAL_DEBUG"
"""The environment variable that keeps tracebacks."""


def print_errors_as_sentences() -> None:
    """Let lm-eval's program end with one sentence where this package raises an error on purpose.

    Other programs, and other errors, keep their tracebacks; STEEREVAL_DEBUG=1 keeps all.
    """
    if is_lm_eval(sys.argv[0]) and not os.environ.get(DEBUG):
        sys.excepthook = _print_sentence


def is_lm_eval(program: str) -> bool:
    """Whether `program`, the first word of a command line, is lm-eval's."""
    path = Path(program)
    return path.name in PROGRAMS or (path.name == "__main__.py" and path.parent.name == "lm_eval")


def _print_sentence(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if isinstance(error, SteerEvalError):
        print(f"steereval: error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
