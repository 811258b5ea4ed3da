"""`steereval rescore`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import named_value, publish_included, read_data_dir, say
from steereval.harness.cli.options import PATH, data_dir_option, include_path_option, run_argument


@command(examples=["steereval rescore runs/first --out runs/first-rescored"])
@run_argument("Run folder.")
@click.option(
    "--out", type=PATH, required=True, metavar="FOLDER", help="Folder for the new scores."
)
@click.option(
    "--task",
    "renamed",
    multiple=True,
    metavar="TASK=OTHER",
    help="Score the answers to TASK as OTHER does, a task with the same questions and documents.",
)
@data_dir_option()
@include_path_option
def rescore(
    run: str, out: str, renamed: Sequence[str], data_dir: str | None, include_path: str | None
) -> int:
    """Score a finished run again from its stored answers.

    No model is loaded. The exit status is 1 if a cell failed.
    """
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.harness.rerun.rescore import rescore as score_again
    from steereval.results.report import build_report
    from steereval.results.store.run_folder import RunFolder

    others = dict(named_value("--task", text, "TASK=OTHER_TASK") for text in renamed)
    target = RunFolder(out)
    source = RunFolder(folder_of(run))
    include_hash, data = publish_included(include_path), read_data_dir(data_dir)
    count = score_again(source, target, others, data, say, include_hash)
    say(f"{count} cells are scored again")
    print(build_report(target))
    return 0 if all(record.is_done for record in target.records().values()) else 1
