"""Conditions for the first cell to run, checked at once and cheaply.

A name that is misspelt, a layer that does not exist or data that cannot be loaded is an error
here, not after an hour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PretrainedConfig

from steereval.common.activity import doing
from steereval.common.errors import GridError, InputError, ModelError, nearest_remedy
from steereval.common.text import first_line
from steereval.harness.assets import fetch, model_at_hand, resolve_model
from steereval.harness.config.grid import ContrastSpec, Grid, ModelSpec, TaskSpec, contrasts_of
from steereval.harness.config.model_options import (
    needs_bitsandbytes,
    reading_options,
    tokenizer_of,
)
from steereval.harness.planning.content import (
    content_of_contrasts,
    content_of_models,
    content_of_task,
)
from steereval.harness.planning.judge_check import check_judges, check_no_stand_in
from steereval.harness.planning.task_cards import card_of
from steereval.harness.planning.task_resources import configured
from steereval.harness.planning.task_size import task_size
from steereval.harness.planning.vector_check import check_vectors
from steereval.models.checkpoints.known_shapes import Shape
from steereval.models.methods.registry import get_method
from steereval.results.store.content import Content, task_subject
from steereval.tasks.catalogue.cards import TaskCard, TaskSize
from steereval.tasks.catalogue.task_group import generates, scored_documents
from steereval.tasks.contrast.registry import ContrastSet, load_contrast

UNREADABLE = (OSError, ValueError, KeyError)
"""Exceptions of Transformers for a configuration or tokenizer that it cannot read."""


@dataclass(frozen=True)
class Prepared:
    """Results of the checks, for the manifest."""

    tasks: dict[str, TaskCard]
    """Card of each task."""
    sizes: dict[str, TaskSize]
    """About how much each task asks; its documents are those that will be scored."""
    generates: frozenset[str]
    """Tasks that ask for text."""
    contrasts: dict[str, dict[str, Any]]
    """Card of each contrast set."""
    shapes: dict[str, Shape]
    """About how large each model is."""
    loaded: Mapping[str, Any]
    """lm-eval's task of each name, with what the grid says of it."""
    content: Content
    """Hashes of the tasks' documents and of the contrast sets, and, where all is to be loaded, of
    the models and judges."""


@doing("checking models, tasks and contrast sets")
def prepare(grid: Grid, data_dir: Path | None, say: Callable[[str], None]) -> Prepared:
    """Fetch what is missing and check every name of `grid`. Raises an InputError or FetchError."""
    prepared = _checked(
        grid, data_dir, lambda name: resolve_model(name, say), lambda asset: fetch(asset, say)
    )
    check_judges(grid, say)
    content = {**prepared.content, **content_of_models(grid)}
    return dataclasses.replace(prepared, content=content)


def at_hand(grid: Grid, data_dir: Path | None) -> Prepared:
    """The same checks, but a bundled model or data that is missing is an InputError."""
    return _checked(grid, data_dir, model_at_hand, lambda _: None)


def _checked(
    grid: Grid,
    data_dir: Path | None,
    locate: Callable[[str], str],
    supply: Callable[[str], object],
) -> Prepared:
    configurations = {
        model.name: check_model(model, locate(model.name), asked_layers(grid, model))
        for model in grid.models
    }
    check_vectors(grid, configurations)
    cards = {task.name: card_of(grid, task) for task in grid.tasks}
    for known in cards.values():
        for asset in known.needs:
            supply(asset)
    tasks = {task.name: configured(task, data_dir) for task in grid.tasks}
    check_no_stand_in(grid)
    for task in grid.tasks:
        check_metrics(grid, task.name, task.metric, cards[task.name])
    shapes = {name: about_shape(config) for name, config in configurations.items()}
    return dataclasses.replace(described(grid, tasks, data_dir), shapes=shapes)


def described(grid: Grid, tasks: Mapping[str, Any], data_dir: Path | None) -> Prepared:
    """Facts for a manifest on the loaded `tasks` of `grid` and on its contrast sets, without
    the models."""
    contrasts = load_contrasts(grid, data_dir)
    content: Content = {task_subject(name): content_of_task(t) for name, t in tasks.items()}
    content = {**content, **content_of_contrasts(contrasts)}
    return Prepared(
        {task.name: card_of(grid, task) for task in grid.tasks},
        {t.name: _size(t, tasks[t.name]) for t in grid.tasks},
        frozenset(n for n, task in tasks.items() if generates(task)),
        {spec.name: contrast.card() for spec, contrast in contrasts.items()},
        {},
        tasks,
        content,
    )


def _size(spec: TaskSpec, task: Any) -> TaskSize:
    return task_size(task, sum(1 for _ in scored_documents(task, spec.limit)))


def about_shape(config: PretrainedConfig) -> Shape:
    """The size of a model, with blocks as most decoders have them."""
    text = config.get_text_config()
    width = getattr(text, "hidden_size", 1024)
    blocks = getattr(text, "num_hidden_layers", 24)
    return Shape(blocks, width, getattr(text, "vocab_size", 0), 12 * width**2)


def load_contrasts(grid: Grid, data_dir: Path | None) -> dict[ContrastSpec, ContrastSet]:
    """The contrast sets that steerers of `grid` are fitted to."""
    fits = any(get_method(method.name).fits for method in grid.methods if method.name != "none")
    return {
        spec: load_contrast(spec.name, data_dir=data_dir, answers=spec.answers)
        for spec in (contrasts_of(grid) if fits else ())
    }


def asked_layers(grid: Grid, model: ModelSpec) -> list[int]:
    """Every block number that a cell of `model` names."""
    sets = {*model.layers, *(layers for method in grid.methods for layers in method.layers)}
    return sorted({int(block) for each in sets - {"all"} for block in each.split("+")})


def check_model(model: ModelSpec, location: str, layers: Sequence[int]) -> PretrainedConfig:
    """The configuration of a model that can be loaded and used as the grid says.

    Args:
        model: The model.
        location: What Transformers loads.
        layers: Block numbers that cells of the model name.

    Raises:
        ModelError: Configuration or tokenizer cannot be read, or lacks what the grid uses, or a
            package that the model's options need is not installed.
    """
    if needs_bitsandbytes(model) and find_spec("bitsandbytes") is None:
        raise ModelError(
            f"the model_args of {model.name} need the package bitsandbytes, which is not installed",
            "Install it on every machine that loads the model, or remove load_in_8bit and "
            "load_in_4bit.",
        )
    try:
        config, tokenizer = _read(model, location)
    except UNREADABLE as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"the model {model.name} comes with Python code of its own",
                "Read the code, then add `model_args: {trust_remote_code: true}` to the model.",
            ) from error
        raise ModelError(
            f"the model {model.name} cannot be loaded: {first_line(error)}",
            "Give a name of `steereval models`, a folder with model and tokenizer, or a name on "
            "the hub.",
        ) from error
    _check_use(model, config, tokenizer, layers)
    return config


def check_models_at_hand(grid: Grid) -> None:
    """Check the use of each model whose files are on this machine; nothing is downloaded.

    Raises:
        ModelError: A model lacks a layer or a chat template that the grid uses.
    """
    for model in grid.models:
        try:
            location = model_at_hand(model.name)
            config, tokenizer = _read(model, location, local_files_only=True)
        except (InputError, *UNREADABLE):
            continue
        _check_use(model, config, tokenizer, asked_layers(grid, model))
        check_vectors(dataclasses.replace(grid, models=(model,)), {model.name: config})


def _read(model: ModelSpec, location: str, **options: Any) -> tuple[PretrainedConfig, Any]:
    tokenizer, of_tokenizer = tokenizer_of(model, location)
    reading = reading_options(model)
    return (
        AutoConfig.from_pretrained(location, revision=model.revision, **reading, **options),
        AutoTokenizer.from_pretrained(tokenizer, **of_tokenizer, **options),
    )


def _check_use(
    model: ModelSpec, config: PretrainedConfig, tokenizer: Any, layers: Sequence[int]
) -> None:
    blocks = getattr(config.get_text_config(), "num_hidden_layers", None)
    for layer in layers:
        if blocks is not None and layer >= blocks:
            raise ModelError(
                f"layer {layer} is out of range: {model.name} has {blocks} blocks",
                f"Choose a layer from 0 to {blocks - 1}.",
            )
    ids = tokenizer.bos_token_id, tokenizer.eos_token_id, model.model_args.get("prefix_token_id")
    if all(each is None for each in ids):
        raise ModelError(
            f"the tokenizer of {model.name} has neither a BOS nor an EOS token, and lm-eval begins "
            "texts with one of them",
            "Set `eos_token` in its tokenizer_config.json, or give another `tokenizer` in "
            "`model_args`.",
        )
    if model.chat_template and not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {model.name} has no chat template, which the grid asks for",
            "Remove `chat_template: true` from the model, or give an instruction-tuned model.",
        )


def check_metrics(grid: Grid, task: str, metric: str | None, described: TaskCard) -> None:
    """Raise GridError for a metric that the task does not have."""
    if metric is not None and metric not in described.metrics:
        remedy = nearest_remedy(metric, described.metrics)
        raise GridError(f"task {task} has no metric {metric!r}", remedy)
    chosen = grid.select.metric if grid.select else None
    if grid.select and chosen and grid.select.task in (None, task):
        role = next(t.role for t in grid.tasks if t.name == task)
        if role == "target" and chosen not in described.metrics:
            remedy = nearest_remedy(chosen, described.metrics)
            raise GridError(f"select.metric is {chosen!r}, which {task} does not have", remedy)
