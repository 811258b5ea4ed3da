"""`steereval import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from steereval.harness.cli.command import command
from steereval.harness.cli.options import PATH


@command(
    "import",
    examples=[
        "steereval import results/samples_truthfulqa_mc1_*.jsonl --into runs/first --label other",
    ],
)
@click.argument(
    "samples",
    nargs=-1,
    required=True,
    type=PATH,
    metavar="SAMPLES...",
    help="samples_TASK_DATE.jsonl, as lm-eval writes them with --log_samples.",
)
@click.option("--into", type=PATH, required=True, metavar="RUN", help="Run folder.")
@click.option("--label", required=True, help="Name of the arm in tables.")
@click.option(
    "--model",
    type=PATH,
    help="Model of the run that gave the samples, if the file names none of it.",
)
@click.option(
    "--baseline/--no-baseline",
    default=None,
    help="Compare all methods with this arm, or no longer.",
)
@click.option("--sample-seed", type=int, metavar="SEED", help="Sample seed of the cells to join.")
@click.option(
    "--fewshot-seed", type=int, metavar="SEED", help="Few-shot seed of the cells to join."
)
def import_samples(
    samples: Sequence[str],
    into: str,
    label: str,
    model: str | None,
    baseline: bool | None,
    sample_seed: int | None,
    fewshot_seed: int | None,
) -> None:
    """Add samples that lm-eval logged to a run, as one more arm."""
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.harness.rerun.import_model import model_of
    from steereval.results.lm_eval import import_samples as importing
    from steereval.results.lm_eval.sample_files import read_sample_file
    from steereval.results.store.manifest import parse_plan
    from steereval.results.store.run_folder import RunFolder

    run = RunFolder(folder_of(into))
    run_plan = parse_plan(run.read_manifest())
    files = [read_sample_file(Path(path)) for path in samples]
    arm = importing.NewArm(
        label, model_of(files, run_plan, model), sample_seed, fewshot_seed, baseline
    )
    for imported in importing.import_samples(run, files, arm):
        print("\n".join(imported.lines(label)))
    print(f"Build the report again with `steereval report {into}`.")
