"""Directions from files, held to the layers and the width of the models that they steer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from transformers import PretrainedConfig

from steereval.common.errors import ArtefactError
from steereval.harness.config.grid import Grid, MethodSpec, ModelSpec
from steereval.models.methods.registry import get_method
from steereval.models.steering.hook_points import Site


def check_vectors(grid: Grid, configurations: Mapping[str, PretrainedConfig]) -> None:
    """Read the directions of a grid, and compare them with its models.

    Args:
        grid: The grid.
        configurations: Configuration of each model, by name.

    Raises:
        ArtefactError: A file cannot be read, or its vectors have another width than the model.
        InputError: A file has no direction for the layers of a cell.
    """
    for method in grid.methods:
        chosen = get_method(method.name)
        if method.name == "none" or chosen.fits:
            continue
        options = chosen.options(method.options)
        for model in grid.models:
            text = configurations[model.name].get_text_config()
            for sites in _site_sets(method, model, getattr(text, "num_hidden_layers", 0)):
                for site, steerer in chosen.from_file(sites, options).items():
                    width = getattr(text, "hidden_size", steerer.dimension)
                    if steerer.dimension != width:
                        files = ", ".join(map(str, chosen.files(options)))
                        raise ArtefactError(
                            f"the vector for layer {site} in {files} has {steerer.dimension} "
                            f"entries, and the activations of {model.name} have {width}",
                            "Use a vector that was made for this model.",
                        )


def _site_sets(method: MethodSpec, model: ModelSpec, blocks: int) -> Iterator[list[Site]]:
    """The sites of each set of layers that cells steer together."""
    for layers in method.layers or model.layers:
        numbers = range(blocks) if layers == "all" else map(int, layers.split("+"))
        yield [Site(number) for number in numbers]
