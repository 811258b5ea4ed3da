"""`steereval lm-eval`."""

from __future__ import annotations

import sys

import click

from steereval.harness.cli.command import Command, command


class _Verbatim(Command):
    """Hands all words on: another program parses them, `--help` included."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []


@command("lm-eval", cls=_Verbatim, is_silent=True)
@click.pass_context
def lm_eval(context: click.Context) -> None:
    """Run lm-eval's own command line with --model steereval."""
    import lm_eval.models  # noqa: F401 - its built-ins must be registered first
    from lm_eval.__main__ import cli_evaluate

    from _steereval_hook import register

    register()
    sys.argv = ["lm_eval", *context.args]
    cli_evaluate()
