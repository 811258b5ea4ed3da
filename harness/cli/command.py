"""Commands with examples, and groups whose help lists commands under headings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from steereval.common.activity import Voice, every, listening

SILENCE_S = 13.0
"""Seconds without a line of a command after which it says what it does; longer than the displays of
a run wait, which say more."""

DEBUG = "steereval.debug"
"""Key of `click.Context.meta`: whether errors are shown with their tracebacks."""

CONTEXT = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}
"""Settings of every command: a line of help is never longer than text that is easy to read."""

Status = int | None
"""Of a callback: the exit status; None counts as 0."""


class Command(click.Command):
    """A command whose help ends with examples, and which takes `--debug`."""

    def __init__(
        self,
        name: str | None = None,
        *,
        examples: Sequence[str] = (),
        is_silent: bool = False,
        **settings: Any,
    ) -> None:
        """Make the command.

        Args:
            name: As typed; by default the name of the callback.
            examples: Command lines that work as they stand, without the prompt.
            is_silent: Whether it may print nothing for long: it waits for others.
            settings: Those of `click.Command`.
        """
        settings["context_settings"] = CONTEXT | (settings.get("context_settings") or {})
        super().__init__(name, **settings)
        self.examples = tuple(examples)
        self.is_silent = is_silent
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_remember_debug,
                help="Show the traceback of an error.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; an error always carries its command, which click omits for some."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; while it prints nothing, say every few seconds what it does."""
        if self.is_silent:
            return super().invoke(ctx)
        voice = Voice()

        def speak() -> None:
            if line := voice.due(SILENCE_S):
                print(f"{self.name}: {line}", file=sys.stderr, flush=True)

        with listening(voice), every(1.0, speak):
            return super().invoke(ctx)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first line of the help, whole: click's own would cut it at `limit`."""
        return (self.help or "").split("\n")[0]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, which are never wrapped: they are there to be copied."""
        heading = "Examples" if len(self.examples) > 1 else "Example"
        with formatter.section(heading):
            for line in self.examples:
                formatter.write(f"  {line}\n")


class Group(click.Group):
    """A group of commands that its help lists under headings."""

    command_class = Command

    def __init__(
        self,
        name: str,
        sections: Mapping[str, Sequence[click.Command]],
        help: str,
        **settings: Any,
    ) -> None:
        """Make the group.

        Args:
            name: As typed.
            sections: Heading -> its commands, both in the order in which the help shows them.
            help: What the commands are for.
            settings: Those of `click.Group`.
        """
        commands = [command for each in sections.values() for command in each]
        super().__init__(
            name,
            commands,
            help=help,
            no_args_is_help=False,
            subcommand_metavar="COMMAND ...",
            context_settings=CONTEXT,
            **settings,
        )
        self.sections = {
            heading: tuple(command.name or "" for command in each)
            for heading, each in sections.items()
        }

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first line of the help, whole."""
        return (self.help or "").split("\n")[0]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, all in columns of the same width."""
        width = max(map(len, self.commands))
        for heading, names in self.sections.items():
            rows = [(name.ljust(width), self.commands[name].get_short_help_str()) for name in names]
            with formatter.section(heading):
                formatter.write_dl(rows)


def command(
    name: str | None = None,
    *,
    examples: Sequence[str] = (),
    is_silent: bool = False,
    cls: type[Command] = Command,
) -> Callable[[Callable[..., Status]], Command]:
    """Decorate the callback of a command; its docstring is the help.

    Args:
        name: As typed; by default the name of the callback.
        examples: Command lines for the help.
        is_silent: Whether it may print nothing for long.
        cls: A class of commands that parses its arguments in another way.
    """
    return click.command(name, cls=cls, examples=examples, is_silent=is_silent)


def _remember_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[DEBUG] = value
