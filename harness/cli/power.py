"""`steereval power`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import Command, command
from steereval.harness.cli.options import PATH

if TYPE_CHECKING:
    from steereval.results.analysis.power_planning import Design


class _ManyValues(Command):
    """Takes several values after one option: `--items 100 200` as `--items 100 --items 200`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_repeated(args, ("--items", "--seeds"))))


def _repeated(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """The words, with the option repeated before each further number that follows it."""
    option = ""
    for i, word in enumerate(words):
        if option and word.isdecimal() and words[i - 1] != option:
            yield option
        elif not word.isdecimal():
            option = word if word in options else ""
        yield word


@command(
    cls=_ManyValues,
    examples=[
        "steereval power runs/pilot --effect 0.03",
        "steereval power --var-item 0.2 --items 200 400 800 --seeds 1 3 5",
    ],
)
@click.argument("run", required=False, type=PATH, help="Run folder of a pilot.")
@click.option("--method", "methods", multiple=True, help="Only this method of the pilot.")
@click.option("--task", "tasks", multiple=True, help="Only this task of the pilot.")
@click.option(
    "--var-item",
    type=float,
    metavar="V",
    help="Without a pilot: variance of the difference between items.",
)
@click.option(
    "--var-seed", type=float, metavar="V", help="Variance between fit seeds (default: 0)."
)
@click.option("--var-residual", type=float, metavar="V", help="Residual variance (default: 0).")
@click.option(
    "--effect",
    type=float,
    metavar="D",
    help="Difference to detect, in the unit of the scores: 0.03 is 3 points.",
)
@click.option("--items", type=int, multiple=True, metavar="N...", help="Rows of the table.")
@click.option("--seeds", type=int, multiple=True, metavar="S...", help="Columns of the table.")
@click.option(
    "--power", "wanted_power", type=float, default=0.8, show_default=True, help="Power of the test."
)
@click.option(
    "--alpha", type=float, default=0.05, show_default=True, help="Level of the two-sided test."
)
def power(
    run: str | None,
    methods: Sequence[str],
    tasks: Sequence[str],
    var_item: float | None,
    var_seed: float | None,
    var_residual: float | None,
    effect: float | None,
    items: Sequence[int],
    seeds: Sequence[int],
    wanted_power: float,
    alpha: float,
) -> None:
    """Show the items and seeds that an effect needs.

    The variances come from the run folder of a pilot, or from the options.
    """
    from steereval.results.analysis import power_planning
    from steereval.results.store.run_folder import RunFolder

    design = power_planning.Design(
        tuple(items or power_planning.ITEMS),
        tuple(seeds or power_planning.SEEDS),
        effect,
        wanted_power,
        alpha,
    )
    variances = (var_item, var_seed, var_residual)
    if run is None:
        lines = _without_pilot(design, variances, [*methods, *tasks])
    elif any(part is not None for part in variances):
        raise InputError("both a pilot and variances are given", "Give one of them.")
    else:
        lines = power_planning.plan_from_pilot(RunFolder(run), design, methods, tasks)
    print("\n".join(lines))


def _without_pilot(
    design: Design, variances: Sequence[float | None], names: Sequence[str]
) -> Iterator[str]:
    from steereval.results.analysis.power_planning import plan_from_variances
    from steereval.results.stats import Variances

    if names:
        raise InputError("--method and --task choose from a pilot", "Give its run folder.")
    if variances[0] is None:
        raise InputError(
            "neither a pilot nor variances are given",
            "Give a run folder, or --var-item (for a binary metric the share of items whose answer "
            "changes).",
        )
    return plan_from_variances(Variances(*(part or 0.0 for part in variances)), design)
