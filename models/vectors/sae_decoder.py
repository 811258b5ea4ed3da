"""Features of a sparse autoencoder: rows of `W_dec` [features, d] in a safetensors file.

That is how sparsify (`sae.safetensors`) and SAE Lens (`sae_weights.safetensors`) store it, next to
`b_dec` [d], the point from which the autoencoder's features are measured. The file does not say
to which layer it belongs.
"""

from __future__ import annotations

from pathlib import Path

from steereval.common.errors import InputError
from steereval.models.vectors.direction import Direction, as_vector, unusable
from steereval.models.vectors.files import opened_safetensors

DECODER, ORIGIN = "W_dec", "b_dec"


def has_decoder(path: Path) -> bool:
    """Whether the safetensors file at `path` has a `W_dec`. Raises ArtefactError."""
    with opened_safetensors(path) as file:
        return DECODER in file.keys()  # noqa: SIM118 - the open file is no mapping


def read_feature(path: Path, feature: int | None) -> Direction:
    """Row `feature` of the decoder, its `b_dec` as the bias.

    Only that row is read. Raises ArtefactError for other content, InputError if there is no such
    feature.
    """
    if not has_decoder(path):
        raise unusable(path, f"it has no {DECODER}, the decoder of a sparse autoencoder")
    with opened_safetensors(path) as file:
        rows = file.get_slice(DECODER)
        shape = rows.get_shape()
        if len(shape) != 2:
            raise unusable(path, f"its {DECODER} has shape {tuple(shape)}, not [features, d]")
        if feature is None or not 0 <= feature < shape[0]:
            raise InputError(
                f"feature {feature} of {path} was asked for",
                f"Set feature to a number from 0 to {shape[0] - 1}.",
            )
        vector = as_vector(rows[feature], f"row {feature} of {DECODER}", path)
        if ORIGIN not in file.keys():  # noqa: SIM118 - the open file is no mapping
            return Direction(vector)
        bias = as_vector(file.get_tensor(ORIGIN), ORIGIN, path)
    if len(bias) != len(vector):
        raise unusable(path, f"its {DECODER} is {tuple(shape)}, which does not go with {ORIGIN}")
    return Direction(vector, bias=bias)
