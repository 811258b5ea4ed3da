"""The command line: `steereval COMMAND ...`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from steereval.common.errors import SteerEvalError
from steereval.harness.cli.command import DEBUG
from steereval.harness.cli.index import cli
from steereval.harness.cli.usage import usage_sentence

PROGRAM = "steereval"
COMPLETE = "_STEEREVAL_COMPLETE"
"""Set by the shell's completion script: which shell asks, and for what."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the name of the program; by default those of this process.

    Returns:
        0; 1 for failed cells and errors of a run; 2 for bad input; 130 for an interruption; 141
        where the reader of the output has gone.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, PROGRAM, COMPLETE, instruction)
    _quieten_libraries(words)
    # Whoever stops a job sends SIGTERM: as an interruption it ends the workers too.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # What Python still buffers for the reader must not raise again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("steereval: interrupted; finished work is kept", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    """The exit status of a command line; errors are printed."""
    meta = {}
    try:
        with cli.make_context(PROGRAM, words) as context:
            meta = context.meta
            return cli.invoke(context) or 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else PROGRAM
        print(f"{place}: error: {usage_sentence(error)}", file=sys.stderr)
        return error.exit_code
    except SteerEvalError as error:
        if meta.get(DEBUG):
            traceback.print_exc()
        print(f"steereval: error: {error}", file=sys.stderr)
        return error.exit_status


def _quieten_libraries(words: Sequence[str]) -> None:
    """Turn off output of libraries that would write over the run's own display."""
    if words[:1] not in (["fit"], ["lm-eval"]):
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
