"""`steereval tasks`."""

from __future__ import annotations

import click

from steereval.harness.cli.assets import assets_of, fetch_asset, fetch_parameters, print_assets
from steereval.harness.cli.columns import print_table, print_text
from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import publish_included
from steereval.harness.cli.options import include_path_option


@command(
    examples=[
        "steereval tasks",
        "steereval tasks fetch realtoxicity_mini",
        "steereval tasks --include-path examples/own-task/tasks",
        "lm_eval --tasks truthful_mini_mc --include_path $(steereval tasks --path) ...",
    ]
)
@click.option("--path", is_flag=True, help="Print the folder with the task files of lm-eval.")
@include_path_option
@fetch_parameters("Data to download.", "data")
def tasks(
    path: bool,
    include_path: str | None,
    action: str | None,
    asset: str | None,
    accept_licence: bool,
) -> None:
    """List tasks, contrast sets and judges, or fetch data.

    Every task of lm-eval can be used too, by its name there.
    """
    from steereval.tasks.catalogue.index import task_folder

    if path:
        print(task_folder())
    elif action == "fetch":
        fetch_asset(asset, assets_of("data"), accept_licence)
    elif include_path is not None:
        _list_own(include_path)
    else:
        _list()


def _list_own(include_path: str) -> None:
    """List the tasks, groups and tags of a folder."""
    from steereval.tasks.catalogue.index import names_in

    include_hash = publish_included(include_path)
    rows = []
    for name in sorted(names_in(include_hash)):
        rows.append((name, _described(name, include_hash)))
    print_table(("TASK", "DESCRIPTION"), rows)


def _described(name: str, include_hash: str) -> str:
    """A line on a task, or the names that a tag or group stands for."""
    from steereval.common.errors import TaskError
    from steereval.tasks.catalogue.cards import card, expanded_tasks

    try:
        names = expanded_tasks(name, include_hash)
        described = card(name, include_hash).description if names == (name,) else ""
    except TaskError as error:
        return error.problem
    return described or f"stands for {', '.join(names)}"


def _list() -> None:
    from steereval.tasks.catalogue.cards import list_tasks
    from steereval.tasks.contrast.registry import CONTRAST_NAMES
    from steereval.tasks.judges.registry import JUDGES

    described = [(card.name, card.description) for card in list_tasks()]
    print_table(
        ("TASK", "DESCRIPTION"), [*described, ("any lm-eval task", "by its name in lm-eval")]
    )
    print()
    print_text(f"Contrast sets: {', '.join(CONTRAST_NAMES)}, or a .jsonl file of your own pairs")
    print()
    print_table(
        ("JUDGE", "QUESTION"), [(judge.name, judge.description) for judge in JUDGES.values()]
    )
    print()
    print_assets("DATA TO FETCH", assets_of("data"))
