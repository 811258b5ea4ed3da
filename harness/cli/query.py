"""`steereval query`."""

from __future__ import annotations

import sys

import click

from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import opened_run
from steereval.harness.cli.options import run_argument


@command(
    examples=[
        'steereval query runs/first "select task, metric, avg(value) from rows group by all"',
        "steereval query runs/first - --format csv < question.sql",
    ]
)
@run_argument("Run folder, or an archive of one.")
@click.argument("sql", help="One select; - reads it from the standard input.")
@click.option(
    "--format", "output_format", default="table", metavar="FORMAT", help="table, csv or json."
)
def query(run: str, sql: str, output_format: str) -> None:
    """Query a run in SQL.

    The tables are rows, responses and cells.
    """
    from steereval.results.store.query import query as ask
    from steereval.results.store.query_output import lines_of

    question = sys.stdin.read() if sql == "-" else sql
    with opened_run(run) as folder:
        for line in lines_of(ask(folder, question), output_format):
            print(line)
