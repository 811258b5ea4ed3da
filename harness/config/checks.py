"""Rules of a grid that concern several fields; those of one field stand in its type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steereval.common.errors import nearest_remedy
from steereval.common.secrets import holds_secret, is_secret_name, redacted_data
from steereval.common.text import visible
from steereval.common.validation import Fault, Place, path_of, shown
from steereval.harness.config.specs import ContrastSpec, Grid, MethodSpec, ModelSpec

UNSTEERED = "none"
"""The method that is the unsteered model."""


def contrasts_of(grid: Grid) -> list[ContrastSpec]:
    """Every contrast set that the grid names, each once."""
    tasks, methods = ([part.contrast for part in parts] for parts in (grid.tasks, grid.methods))
    named = (grid.contrast, *tasks, *methods)
    return list(dict.fromkeys(contrast for contrast in named if contrast is not None))


def check(grid: Grid) -> Iterator[Fault]:
    """Contradictions in a grid whose fields are valid by themselves.

    Args:
        grid: The grid.

    Yields:
        Faults, with their place in the file.
    """
    yield from _twice("models", [model.name for model in grid.models], "Remove one.")
    yield from _twice("tasks", [task.name for task in grid.tasks], "Remove one.")
    labels = [label_of(method) for method in grid.methods]
    yield from _twice("methods", labels, "Give each a `label` of its own.")
    for number, model in enumerate(grid.models):
        yield from _model_args(model, ("models", number))
        if not model.layers:
            yield Fault(
                ("models", number, "layers"),
                f"model {model.name} has no layers",
                "Add `layers: [14]`.",
            )
    for number, method in enumerate(grid.methods):
        yield from _method(grid, method, ("methods", number))
    for number, task in enumerate(grid.tasks):
        place = ("tasks", number, "judges")
        yield from _twice(place, [judge.name for judge in task.judges], "Remove one.")
    yield from _values(grid)
    yield from _use_of_seeds(grid)
    yield from _analysis(grid, labels)
    yield from _match(grid)
    yield from _noise_floor(grid)


def _values(grid: Grid) -> Iterator[Fault]:
    """Secrets, which would be written into the run, names that a terminal would obey, and numbers
    that no counter holds."""
    names = [("name", grid.name), *(("methods", label_of(method)) for method in grid.methods)]
    names += [("models", model.name) for model in grid.models]
    names += [("tasks", task.name) for task in grid.tasks]
    for key, name in names:
        if visible(name) != name:
            problem = f"grid.{key} has the name {name!r}, with characters that are not printed"
            yield Fault((key,), problem, "Remove them.")
    for place, key, value in _leaves(dataclasses.asdict(grid)):
        if isinstance(value, int) and abs(value) >= 1 << 63:
            problem = f"{path_of(place, 'grid')} is {shown(value)}"
            yield Fault(place, problem, "Give a number of at most 18 digits.")
        is_secret = isinstance(value, str) and (
            holds_secret(value)
            or (is_secret_name(key) and redacted_data({key: value})[key] != value)
        )
        if is_secret:
            yield Fault(
                place,
                f"{path_of(place, 'grid')} holds a secret, which would be written into the run",
                "Set it in the environment (`steereval submit --env NAME`).",
            )


def _leaves(value: Any, place: Place = (), key: str = "") -> Iterator[tuple[Place, str, Any]]:
    """Values in mappings and lists, each with its place and the key that it stands under."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _leaves(each, (*place, name), str(name))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _leaves(each, (*place, number), key)
    else:
        yield place, key, value


def label_of(method: MethodSpec) -> str:
    """A method's name in tables."""
    return method.label or method.name


def _model_args(model: ModelSpec, place: Place) -> Iterator[Fault]:
    if model.model_args:
        # Imported here: lm-eval's model brings torch, which takes seconds.
        from steereval.harness.config.model_options import check_model_args

        yield from check_model_args(model, place)


def _twice(place: str | Place, names: Sequence[str], remedy: str) -> Iterator[Fault]:
    at = (place,) if isinstance(place, str) else place
    seen = set()
    for number, name in enumerate(names):
        if name in seen:
            yield Fault((*at, number), f"{path_of(at, 'grid')} names {name!r} twice", remedy)
        seen.add(name)


def _method(grid: Grid, method: MethodSpec, place: Place) -> Iterator[Fault]:
    if method.name == UNSTEERED:
        yield from _unsteered(method, place)
    elif not method.strengths:
        yield Fault(place, f"method {method.name} has no strengths", "Add `strengths: [1, 2, 4]`.")
    known = [task.name for task in grid.tasks]
    for number, name in enumerate(method.tasks):
        if name not in known:
            yield Fault(
                (*place, "tasks", number),
                f"method {label_of(method)} names the task {name!r}, which the grid does not have",
                nearest_remedy(name, known),
            )
    if method.unit == "displacement" or grid.match:
        yield from _displacements(method, place)


def _unsteered(method: MethodSpec, place: Place) -> Iterator[Fault]:
    for name in ("strengths", "layers", "positions", "incremental", "contrast"):
        if getattr(method, name):
            yield Fault(
                (*place, name),
                f"method {UNSTEERED} has {name}",
                "Remove it: this is the unsteered model.",
            )


def _displacements(method: MethodSpec, place: Place) -> Iterator[Fault]:
    if method.incremental:
        yield Fault(
            (*place, "incremental"),
            f"method {label_of(method)} is fitted layer by layer at its own strength",
            "Leave out `incremental`, or give absolute strengths.",
        )
    for number, strength in enumerate(method.strengths):
        if strength < 0:
            yield Fault(
                (*place, "strengths", number),
                f"method {label_of(method)} has the displacement {strength:g}",
                "A displacement is 0 or more.",
            )


def _match(grid: Grid) -> Iterator[Fault]:
    """Methods that are compared at equal displacement have the same displacements."""
    if grid.match is None:
        return
    steered = [(n, m) for n, m in enumerate(grid.methods) if m.name != UNSTEERED]
    for number, method in steered:
        _, first = steered[0]
        if method.unit != "absolute":
            yield Fault(
                ("methods", number, "unit"),
                f"method {label_of(method)} has unit {method.unit}, and the grid has "
                "`match: displacement`",
                "Remove the unit: every strength is a displacement then.",
            )
        if set(method.strengths) != set(first.strengths):
            yield Fault(
                ("methods", number, "strengths"),
                f"method {label_of(method)} has the displacements {sorted(method.strengths)}, and "
                f"{label_of(first)} has {sorted(first.strengths)}",
                "With `match: displacement` give all methods the same strengths.",
            )


def _use_of_seeds(grid: Grid) -> Iterator[Fault]:
    if len(grid.seeds.sample) > 1 and not any(task.samples for task in grid.tasks):
        yield Fault(
            ("seeds", "sample"),
            "seeds.sample has several seeds, and no task samples",
            "Add `generation: {do_sample: true}` to a task, or give one seed.",
        )
    if len(grid.seeds.fewshot) > 1 and not any(task.num_fewshot for task in grid.tasks):
        yield Fault(
            ("seeds", "fewshot"),
            "seeds.fewshot has several seeds, and no task has few-shot examples",
            "Add `num_fewshot` to a task, or give one seed.",
        )


def _analysis(grid: Grid, labels: Sequence[str]) -> Iterator[Fault]:
    name = grid.analysis.baseline
    if name not in labels:
        yield Fault(
            ("analysis", "baseline"),
            f"analysis.baseline is {name!r}, which is not among the grid's methods",
            f"Add it to methods, or choose from: {', '.join(labels)}.",
        )
        return
    number = labels.index(name)
    only = grid.methods[number].tasks
    missed = [task.name for task in grid.tasks if only and task.name not in only]
    if missed:
        yield Fault(
            ("methods", number, "tasks"),
            f"the baseline {name} is not run on {missed[0]}",
            "Remove `tasks` from it: every task needs something to compare with.",
        )
    tasks = [task.name for task in grid.tasks]
    if grid.select is not None and grid.select.task not in (None, *tasks):
        yield Fault(
            ("select", "task"),
            f"select.task is {grid.select.task!r}, which is not among the grid's tasks",
            nearest_remedy(str(grid.select.task), tasks),
        )


def _noise_floor(grid: Grid) -> Iterator[Fault]:
    if grid.noise_floor is None:
        return
    steered = [label_of(method) for method in grid.methods if method.name != UNSTEERED]
    if grid.noise_floor.method not in steered:
        yield Fault(
            ("noise_floor", "method"),
            f"noise_floor.method is {grid.noise_floor.method!r}, which is not among the grid's "
            "steered methods",
            nearest_remedy(grid.noise_floor.method, steered),
        )
    if grid.noise_floor.batch_size == grid.run.batch_size:
        yield Fault(
            ("noise_floor", "batch_size"),
            f"noise_floor.batch_size is {grid.run.batch_size}, as the run's",
            "Give another number.",
        )
