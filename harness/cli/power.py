"""`steereval power`: planning from a pilot run or from given variances."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from steereval.common.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("run", nargs="?", help="run folder of a pilot; else give variances")
    parser.add_argument("--method", action="append", default=[], help="only this method of it")
    parser.add_argument("--task", action="append", default=[], help="only this task of it")
    parser.add_argument("--var-item", type=float, help="variance of the difference between items")
    parser.add_argument("--var-seed", type=float, help="between fit seeds; 0 unless given")
    parser.add_argument("--var-residual", type=float, help="of what is left; 0 unless given")
    parser.add_argument(
        "--effect", type=float, help="wanted difference in the scores' unit: 0.03 is 3 points"
    )
    parser.add_argument("--items", type=int, nargs="+", metavar="N", help="rows of the table")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", help="columns of the table")
    parser.add_argument("--power", type=float, default=0.8)
    parser.add_argument("--alpha", type=float, default=0.05, help="level of the two-sided test")


def lines_of(arguments: argparse.Namespace) -> Iterator[str]:
    """The answer as lines of Markdown; InputError if neither a pilot nor variances are given."""
    from steereval.results.analysis import power_planning
    from steereval.results.stats import Variances
    from steereval.results.store.run_folder import RunFolder

    design = power_planning.Design(
        tuple(arguments.items or power_planning.ITEMS),
        tuple(arguments.seeds or power_planning.SEEDS),
        arguments.effect,
        arguments.power,
        arguments.alpha,
    )
    given = (arguments.var_item, arguments.var_seed, arguments.var_residual)
    if arguments.run is not None:
        if any(part is not None for part in given):
            raise InputError("both a pilot and variances were given", "Give one of them.")
        run = RunFolder(arguments.run)
        return power_planning.plan_from_pilot(run, design, arguments.method, arguments.task)
    if arguments.method or arguments.task:
        raise InputError("--method and --task choose from a pilot", "Give its run folder.")
    if arguments.var_item is None:
        raise InputError(
            "there is nothing to plan from",
            "Give a run folder, or --var-item (for a binary metric the share of items whose answer "
            "changes).",
        )
    return power_planning.plan_from_variances(Variances(*(part or 0.0 for part in given)), design)
