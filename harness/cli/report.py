"""`steereval report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.options import PATH


@command(
    examples=[
        "steereval report runs/first",
        "steereval report runs/first runs/second --out comparison",
    ]
)
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    type=PATH,
    metavar="RUN...",
    help="Run folder; further ones are compared with the first.",
)
@click.option(
    "--out",
    type=PATH,
    metavar="FOLDER",
    help="Folder for the report (default: RUN/report; a comparison is printed).",
)
@click.option(
    "--dataset",
    type=PATH,
    metavar="FOLDER",
    help="Write the results as a Hugging Face data set too.",
)
@click.option(
    "--log", metavar="TRACKER", help="Log the results to wandb or trackio, where installed."
)
@click.option("--project", default="steereval", show_default=True, help="Project of the tracker.")
def report(
    runs: Sequence[str], out: str | None, dataset: str | None, log: str | None, project: str
) -> None:
    """Build the report of a run, or compare several runs."""
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.results.report import build_report, publish_report
    from steereval.results.store.run_folder import RunFolder

    if len(runs) > 1:
        if dataset or log:
            raise InputError("--dataset and --log take one run", "Leave them out, or name one run.")
        _compare(runs, out)
        return
    run = RunFolder(folder_of(runs[0]))
    print(build_report(run, Path(out)) if out else publish_report(run).page)
    if dataset:
        from steereval.results.report.writers.dataset import write_dataset

        write_dataset(run, Path(dataset))
        print(dataset)
    if log:
        from steereval.results.analysis.run_analysis import analyse
        from steereval.results.report.writers.experiment_tracker import log_results

        log_results(analyse(run), run.read_manifest(), log, project)


def _compare(runs: Sequence[str], out: str | None) -> None:
    """Print the comparison of the first run with the others, or write it into a folder."""
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.results.report.writers.comparison import (
        compared,
        comparison_markdown,
        write_comparison,
    )
    from steereval.results.store.run_folder import RunFolder

    comparison = compared({name: RunFolder(folder_of(name)) for name in runs})
    if out:
        print(write_comparison(comparison, Path(out)))
    else:
        print(comparison_markdown(comparison), end="")
