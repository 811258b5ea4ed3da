"""Parameters that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from steereval.common.paths import expanded

Callback = TypeVar("Callback", bound=Callable[..., Any])


class LocalPath(click.ParamType[str]):
    """A path of this machine, or a URI.

    A shell leaves `~` alone in `--out=~/run` and within quotes: here it becomes the home folder.
    """

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path with `~` replaced."""
        return expanded(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete names of files and folders."""
        return [CompletionItem(incomplete, type="file")]


PATH = LocalPath()
OTHER_PATH = click.STRING
"""A path of another machine, which has a home folder of its own."""


def grid_argument(callback: Callback) -> Callback:
    """Add the grid file."""
    return click.argument("grid", type=PATH, help="Grid file (YAML).")(callback)


def run_argument(help: str) -> Callable[[Callback], Callback]:
    """Add the run folder."""
    return click.argument("run", type=PATH, help=help)


def data_dir_option(kind: click.ParamType[str] = PATH) -> Callable[[Callback], Callback]:
    """Add `--data-dir`."""
    return click.option(
        "--data-dir",
        type=kind,
        metavar="FOLDER",
        help="Folder with benchmark data (default: $STEEREVAL_DATA).",
    )


def include_path_option(callback: Callback) -> Callback:
    """Add `--include-path`."""
    return click.option(
        "--include-path",
        type=PATH,
        metavar="FOLDER",
        help="Folder with lm-eval tasks of your own (default: the grid's include_path).",
    )(callback)


def limit_option(callback: Callback) -> Callback:
    """Add `--limit`."""
    return click.option(
        "--limit", type=int, metavar="N", help="Score only the first N items of each task."
    )(callback)


def device_option(default: str | None = None) -> Callable[[Callback], Callback]:
    """Add `--device`; without a default the grid file decides."""
    return click.option(
        "--device", default=default, metavar="DEVICE", help="cuda, cpu, mps or auto."
    )


def worker_options(callback: Callback) -> Callback:
    """Add what a run and a submitted run say about their workers."""
    for option in (
        click.option(
            "--time-limit",
            type=float,
            metavar="S",
            help="Seconds after which a cell counts as hung.",
        ),
        device_option(),
        click.option(
            "--batch-size", type=int, metavar="N", help="Prompts that generate together."
        ),
        click.option(
            "--workers", type=int, metavar="N", help="Model replicas (default: one a GPU)."
        ),
    ):  # fmt: skip
        callback = option(callback)
    return callback


def job_address_option(callback: Callback) -> Callback:
    """Add `--address` of a submitted run."""
    return click.option(
        "--address",
        metavar="URL",
        help="Ray dashboard; needed for a run that another machine submitted.",
    )(callback)
