"""The commands, grouped as `steereval --help` lists them."""

from __future__ import annotations

from importlib.metadata import version

import click

from steereval.harness.cli.archive import archive
from steereval.harness.cli.cancel import cancel
from steereval.harness.cli.cluster import cluster
from steereval.harness.cli.command import Group
from steereval.harness.cli.diagnose import diagnose
from steereval.harness.cli.export import export
from steereval.harness.cli.fit import fit
from steereval.harness.cli.import_samples import import_samples
from steereval.harness.cli.lm_eval import lm_eval
from steereval.harness.cli.logs import logs
from steereval.harness.cli.methods import methods
from steereval.harness.cli.models import models
from steereval.harness.cli.plan import plan
from steereval.harness.cli.power import power
from steereval.harness.cli.query import query
from steereval.harness.cli.report import report
from steereval.harness.cli.rescore import rescore
from steereval.harness.cli.run import run
from steereval.harness.cli.status import status
from steereval.harness.cli.submit import submit
from steereval.harness.cli.tasks import tasks
from steereval.harness.cli.verify import verify
from steereval.harness.cli.watch import watch

SECTIONS = {
    "Run": (plan, power, run, diagnose, rescore, fit, lm_eval),
    "Inspect": (models, methods, tasks, status, watch, report, query),
    "Share": (archive, verify, import_samples, export),
    "Cluster": (submit, logs, cancel, cluster),
}


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        print(f"steereval {version('steereval')}")
        context.exit()


cli = Group(
    "steereval",
    SECTIONS,
    help="Evaluate activation steering of language models: grids, per-item rows, statistics, "
    "reports.",
    epilog="`steereval COMMAND --help` shows the options of a command and an example.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        )
    ],
)
