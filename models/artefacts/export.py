"""Fitted steerers as files that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from steereval.common.errors import InputError, UnknownNameError
from steereval.models.methods.ablate import Ablation
from steereval.models.methods.clamp import Clamp
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer
from steereval.models.vectors.direction import Direction
from steereval.models.vectors.gguf_control_vector import write_gguf
from steereval.models.vectors.lm_eval_steered import write_steered
from steereval.models.vectors.plain_tensors import write_plain
from steereval.models.vectors.read import format_by_suffix

FORMATS = ("plain", "gguf", "steered")


def export_steerers(
    steerers: Mapping[Site, Steerer],
    path: str | Path,
    format: str = "auto",
    *,
    blocks: str = "layers",
    model_hint: str = "",
) -> None:
    """Write what `steerers` do at strength 1 to the file `path`, whole or not at all.

    Constant shifts go to `plain` (safetensors), `gguf` (control vectors) and `steered` (lm-eval);
    clamps, and ablations as clamps to 0, to `steered`; `auto` goes by the suffix. `blocks` is the
    name of the list of blocks in `model.base_model`, for `steered`; `model_hint` the kind of model,
    for `gguf`. Raises InputError for what the format cannot hold, StoreError if the file cannot be
    written.
    """
    path = Path(path)
    chosen = format_by_suffix(path) if format == "auto" else format
    if chosen not in FORMATS:
        raise UnknownNameError.of("export format", chosen, FORMATS)
    if not steerers:
        raise InputError("there is no steerer to export", "Fit one with `steereval fit`.")
    directions = {site: _direction(site, steerers[site]) for site in sorted(steerers)}
    if chosen == "steered":
        if path.suffix not in (".pt", ".pth"):
            raise InputError(f"lm-eval reads no steered file {path}", "End it in .pt or .pth.")
        write_steered(directions, path, blocks)
        return
    for site, each in directions.items():
        if each.action == "clamp":
            raise InputError(
                f"the clamp at layer {site} is not an added vector, which {chosen} files contain",
                "Export it in the format steered (.pt).",
            )
    vectors = {site: each.vector for site, each in directions.items()}
    if chosen == "gguf":
        write_gguf(vectors, path, model_hint)
    else:
        write_plain(vectors, path)


def _direction(site: Site, steerer: Steerer) -> Direction:
    """The direction of a shift or clamp at strength 1. Raises InputError for other steerers."""
    if site.head is not None:
        raise InputError(
            f"the steerer at layer {site} acts on one attention head",
            "Only steerers of whole blocks can be exported.",
        )
    if isinstance(steerer, Clamp):
        bias = steerer.bias.detach().cpu() if len(steerer.bias) else None
        return Direction(steerer.direction.detach().cpu(), "clamp", steerer.value, bias)
    if isinstance(steerer, Ablation):
        return Direction(steerer.direction.detach().cpu(), "clamp", 0.0)
    shift = steerer.shift(1.0)
    if shift is None:
        raise InputError(
            f"a steerer of kind {steerer.method} (layer {site}) is not a constant direction",
            "Steerers that add one vector (caa, repe, iti, vector), clamps and ablations can be "
            "exported.",
        )
    return Direction(shift.detach().cpu().float())
