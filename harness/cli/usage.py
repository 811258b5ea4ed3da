"""Sentences for command lines that cannot be parsed: the problem, then the remedy."""

from __future__ import annotations

from functools import singledispatch

import click
from click.types import FloatParamType, IntParamType

from steereval.common.errors import nearest_remedy

OTHER_NAMES = {"compare": "Compare runs with `steereval report RUN RUN`."}
"""Commands that users may expect under another name, with the remedy."""


def usage_sentence(error: click.UsageError) -> str:
    """The fault of a command line, and the text to type instead.

    Args:
        error: As click raises it.

    Returns:
        One or two sentences that name the word at fault, without a line break.
    """
    return _sentence(error)


@singledispatch
def _sentence(error: click.UsageError) -> str:
    if error.ctx and isinstance(error.ctx.command, click.Group):
        return f"no command was given. Run `{error.ctx.command_path} --help` for the commands."
    problem = error.format_message().rstrip(".")
    return f"{problem[:1].lower()}{problem[1:]}. {_see_help(error)}"


@_sentence.register
def _(error: click.exceptions.NoSuchCommand) -> str:
    group = error.ctx.command if error.ctx else None
    known = group.commands if isinstance(group, click.Group) else ()
    if error.command_name in OTHER_NAMES:
        return f"unknown command {error.command_name!r}. {OTHER_NAMES[error.command_name]}"
    return f"unknown command {error.command_name!r}. {nearest_remedy(error.command_name, known)}"


@_sentence.register
def _(error: click.NoSuchOption) -> str:
    nearest = f"Did you mean {error.possibilities[0]!r}?" if error.possibilities else ""
    return f"unknown option {error.option_name!r}. {nearest or _see_help(error)}"


@_sentence.register
def _(error: click.MissingParameter) -> str:
    if error.param is None:
        return f"{error.format_message()} {_see_help(error)}"
    purpose = f": {error.param.help}" if getattr(error.param, "help", None) else "."
    return f"{_spelling(error.param)} is missing. Add it{purpose}"


@_sentence.register
def _(error: click.BadParameter) -> str:
    spelling = _spelling(error.param) if error.param else "a value"
    kinds = {IntParamType: "a whole number", FloatParamType: "a number"}
    kind = kinds.get(type(error.param.type)) if error.param else None
    remedy = f" Give {kind}." if kind else ""
    return f"{spelling}: {error.message.rstrip('.')}.{remedy}"


def _spelling(parameter: click.Parameter) -> str:
    """The parameter as a user types it: the option's long name, or the argument's placeholder."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name.strip("[].")


def _see_help(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "steereval"
    return f"Run `{path} --help` for what it takes."
