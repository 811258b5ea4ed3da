"""`steereval models`."""

from __future__ import annotations

from steereval.harness.cli.assets import assets_of, fetch_asset, fetch_parameters, print_assets
from steereval.harness.cli.command import command


@command(examples=["steereval models", "steereval models fetch smollm2-135m"])
@fetch_parameters("Model to download.", "model")
def models(action: str | None, asset: str | None, accept_licence: bool) -> None:
    """List the bundled models, or fetch one.

    Grid files take every causal language model of the hub too, by its name there, and folders.
    """
    if action == "fetch":
        fetch_asset(asset, assets_of("model"), accept_licence)
    else:
        print_assets("MODEL", assets_of("model"))
