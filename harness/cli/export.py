"""`steereval export`."""

from __future__ import annotations

from pathlib import Path

import click

from steereval.harness.cli.command import command
from steereval.harness.cli.options import PATH


@command(examples=["steereval export steerers/caa --out caa.gguf"])
@click.argument("steerer", type=PATH, help="Folder of a fitted steerer.")
@click.option(
    "--out",
    type=PATH,
    required=True,
    metavar="FILE",
    help=".safetensors, .gguf or .pt file to write.",
)
@click.option(
    "--format",
    "file_format",
    default="auto",
    metavar="FORMAT",
    help="plain, gguf or steered; auto follows the name of the file.",
)
def export(steerer: str, out: str, file_format: str) -> None:
    """Write a steerer as vectors for other programs.

    llama.cpp, vLLM and repeng read the vectors.
    """
    from steereval.models.artefacts.artefact import load_artefact
    from steereval.models.artefacts.export import export_steerers

    artefact = load_artefact(Path(steerer))
    export_steerers(artefact.steerers, Path(out), file_format)
    print(out)
