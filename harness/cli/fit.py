"""`steereval fit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import named_value, read_data_dir
from steereval.harness.cli.options import PATH, data_dir_option, device_option

if TYPE_CHECKING:
    from steereval.harness.engine.fit_request import Lower


@command(
    examples=[
        "steereval fit --model smollm2-135m --method caa --contrast truthful-mini --layer 14 "
        "--out steerers/caa"
    ]
)
@click.option(
    "--model",
    type=PATH,
    required=True,
    help="Bundled model, folder, or name on the Hugging Face hub.",
)
@click.option("--method", required=True, help="Steering method; see `steereval methods`.")
@click.option("--contrast", type=PATH, required=True, help="Contrast set or .jsonl file of pairs.")
@click.option("--layer", required=True, help="Block, counted from 0, or several joined by +.")
@click.option("--out", type=PATH, required=True, metavar="FOLDER", help="Folder for the steerer.")
@click.option("--seed", type=int, default=0, show_default=True, help="Fit seed.")
@click.option(
    "--incremental",
    type=float,
    metavar="STRENGTH",
    help="Fit each layer to negatives that the layers below steer at this strength.",
)
@click.option(
    "--positions",
    default="generated",
    show_default=True,
    help="Tokens that an incremental fit steers.",
)
@click.option(
    "--fraction", type=float, default=1.0, show_default=True, help="Share of the questions drawn."
)
@click.option(
    "--answers",
    type=click.Choice(["all", "best"]),
    default="all",
    show_default=True,
    help="Answers of each question.",
)
@click.option(
    "--template",
    type=click.Choice(["qa", "chat"]),
    default="qa",
    show_default=True,
    help="How question and answer are joined.",
)
@click.option(
    "--token",
    type=click.Choice(["last", "mean"]),
    default="last",
    show_default=True,
    help="Token whose activation is taken.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
    default="float32",
    show_default=True,
    help="Precision of the model.",
)
@device_option(default="auto")
@data_dir_option()
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the method."
)
def fit(
    model: str,
    method: str,
    contrast: str,
    layer: str,
    out: str,
    seed: int,
    incremental: float | None,
    positions: str,
    fraction: float,
    answers: Literal["all", "best"],
    template: str,
    token: str,
    dtype: Literal["float32", "bfloat16", "float16", "auto"],
    device: str,
    data_dir: str | None,
    options: Sequence[str],
) -> None:
    """Fit one steerer and save it."""
    from steereval.harness.config.grid import ModelSpec
    from steereval.harness.engine.fit_request import FitRequest
    from steereval.harness.engine.loading import WorkerSettings, load_model
    from steereval.models.artefacts.artefact import save_artefact, with_questions
    from steereval.models.methods.registry import get_method
    from steereval.tasks.contrast.registry import load_contrast

    values = dict(named_value("--option", text, "NAME=VALUE") for text in options)
    get_method(method).options(values)
    if not 0 < fraction <= 1:
        raise InputError(f"--fraction is {fraction}", "It lies above 0, up to 1.")
    pairs = load_contrast(contrast, data_dir=read_data_dir(data_dir), answers=answers)
    spec = ModelSpec(model, layers=(), dtype=dtype)
    lm = load_model(spec, WorkerSettings("", None, 1, device))
    lower = _lower(incremental, positions)
    request = FitRequest(method, values, layer, template, fraction, seed, lower, token)
    artefact = lm.fitter.fit(pairs, request, None)
    if not artefact.steerers:
        raise InputError(f"method {method} gives no steerer", "There is nothing to save.")
    save_artefact(with_questions(artefact, pairs.keys), Path(out))
    print(out)


def _lower(strength: float | None, positions: str) -> Lower | None:
    """How the layers below act in an incremental fit; None in one that is not."""
    from steereval.harness.engine.fit_request import Lower
    from steereval.models.steering.positions import Positions

    if strength is None:
        return None
    return Lower(strength, "absolute", Positions(positions).rule)
