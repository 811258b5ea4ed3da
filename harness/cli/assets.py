"""Models and data that commands list and fetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from steereval.common.errors import InputError, UnknownNameError
from steereval.harness.assets import ASSETS, Asset, fetch
from steereval.harness.cli.columns import print_table
from steereval.harness.cli.inputs import say
from steereval.harness.cli.options import Callback


def assets_of(kind: str) -> list[Asset]:
    """The assets of a kind, `model` or `data`."""
    return [asset for asset in ASSETS.values() if asset.kind == kind]


def print_assets(heading: str, assets: Sequence[Asset]) -> None:
    """Print a line for each asset.

    Args:
        heading: Of the column of names.
        assets: What to list.
    """
    rows = [
        (asset.name, "here" if asset.is_here else "not fetched", asset.licence, asset.summary)
        for asset in assets
    ]
    print_table((heading, "STATE", "LICENCE", "DESCRIPTION"), rows)


def fetch_parameters(help: str, kind: str) -> Callable[[Callback], Callback]:
    """Add `fetch NAME` and `--accept-licence`.

    Args:
        help: Of the name.
        kind: Kind of the assets that the shell completes.
    """

    def decorate(callback: Callback) -> Callback:
        for parameter in (
            click.option("--accept-licence", is_flag=True, help="Accept the terms of use."),
            click.argument(
                "asset",
                required=False,
                metavar="[NAME]",
                help=help,
                shell_complete=lambda *_: [asset.name for asset in assets_of(kind)],
            ),
            click.argument(
                "action",
                required=False,
                type=click.Choice(["fetch"]),
                metavar="[fetch]",
                help="Download instead of listing.",
            ),
        ):
            callback = parameter(callback)
        return callback

    return decorate


def fetch_asset(name: str | None, assets: Sequence[Asset], accept_licence: bool) -> None:
    """Download an asset and print its folder.

    Args:
        name: The asset, as typed.
        assets: Those that the command lists.
        accept_licence: Whether the user accepts the asset's terms of use.

    Raises:
        InputError: No asset, or an unknown one, is named.
        FetchError: The download fails.
    """
    known = {asset.name for asset in assets}
    if name is None:
        raise InputError("nothing to fetch was named", f"Name one of: {', '.join(sorted(known))}.")
    if name not in known:
        raise UnknownNameError.of("asset", name, known)
    print(fetch(name, say, accept_licence))
