"""The grid file: YAML, validated strictly, as frozen dataclasses.

Every field says in its metadata what it is part of:
    identity  what a cell computes: part of the cell's id
    analysis  how finished rows are read: never changes a row
    runtime   how and where cells are computed: never changes a row
"""

from __future__ import annotations

import dataclasses
import math
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

import yaml

from steereval.common.errors import GridError, nearest_remedy
from steereval.common.paths import expanded

Unit = Literal["absolute", "relative", "displacement"]
Role = Literal["target", "capability"]
Answers = Literal["all", "best"]
Template = Literal["qa", "chat"]
Token = Literal["last", "mean"]
LayerSet = NewType("LayerSet", str)
"""Blocks (0-based) that are steered together: `14`, `12+14` (a list in YAML) or `all`."""


def _part(part: str, is_path: bool = False, **rest: Any) -> Any:
    """A field's part; with `is_path` its text may be a path, whose `~` is the home folder."""
    return field(metadata={"part": part, "is_path": is_path}, **rest)


@dataclass(frozen=True)
class ModelSpec:
    """A language model and where to steer it."""

    name: str = _part("identity", is_path=True)
    """An embedded model (`steereval models`), a folder, or a name on the hub."""
    layers: tuple[LayerSet, ...] = _part("identity")
    """0-based blocks; each is a column of the grid of its own. A list within the list, or `all`, is
    one column in which several are steered together."""
    dtype: str = _part("identity", default="float32")
    """float32, bfloat16, float16, or auto (the model's own)."""
    revision: str = _part("identity", default="main")
    """Branch, tag or commit on the hub."""
    peft: str | None = _part("identity", is_path=True, default=None)
    """A PEFT adapter to load on top."""
    chat_template: bool = _part("identity", default=False)
    """Whether prompts go through the tokenizer's chat template."""
    gpus: float = _part("runtime", default=1.0)
    """GPUs of each replica: a fraction such as 0.25 lets several share one, 2 and more spread the
    model over several. No matter where there is no GPU."""

    def without_layers(self) -> ModelSpec:
        """The model as it is loaded: every field but the layers, which are the cells' own."""
        return dataclasses.replace(self, layers=())


@dataclass(frozen=True)
class ContrastSpec:
    """What steerers are fitted to."""

    name: str = _part("identity", is_path=True)
    """A contrast set (`steereval tasks`) or the path of a .jsonl file."""
    answers: Answers = _part("identity", default="all")
    """All answers of a question, or the best one of each class."""
    template: Template = _part("identity", default="qa")
    """Text around question and answer: `Q: .. A: ..`, or the chat template."""
    token: Token = _part("identity", default="last")
    """Where activations are taken: at the last token, or the mean over the answer's tokens."""
    fraction: float = _part("identity", default=1.0)
    """Share of the questions that each fit seed draws."""


@dataclass(frozen=True)
class MethodSpec:
    """A steering method and the strengths to try."""

    name: str = _part("identity")
    """A method (`steereval methods`)."""
    strengths: tuple[float, ...] = _part("identity", default=())
    """Strengths, in `unit`. Every method but `none` needs at least one."""
    unit: Unit = _part("identity", default="absolute")
    """The method's own unit (absolute), multiples of the median activation norm (relative), or the
    mean displacement to be had, in median norms (displacement)."""
    options: dict[str, Any] = _part("identity", default_factory=dict)
    """Options of the method."""
    layers: tuple[LayerSet, ...] = _part("identity", default=())
    """Blocks for this method, instead of the model's."""
    positions: str | None = _part("identity", default=None)
    """Which tokens this method steers, instead of the grid's."""
    incremental: bool = _part("identity", default=False)
    """Fit layer by layer on activations that the layers below have already steered."""
    contrast: ContrastSpec | None = _part("identity", default=None)
    """Contrast set for this method on all tasks, instead of theirs."""
    tasks: tuple[str, ...] = _part("identity", default=())
    """Names of the only tasks that this method is run on; all of the grid's unless given."""
    label: str = _part("analysis", default="")
    """Name in tables; the method's name unless given. Tells two variants of a method apart."""


GENERATION = (
    *("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size"),
    *("max_gen_toks", "until", "num_beams"),
)
"""Options of generation that a grid may set."""


@dataclass(frozen=True)
class JudgeSpec:
    """A model or service that judges what a task's cells have written."""

    name: str = _part("identity")
    """`truth`, `info`, `reward`, `toxicity` or `fluency`."""
    model: str | None = _part("identity", is_path=True, default=None)
    """A folder, an embedded model or a name on the hub instead of the published judge; `stand-in`
    for a tiny one with random weights, whose numbers are never scores."""
    revision: str = _part("identity", default="main")
    """Branch, tag or commit of the model on the hub."""
    dtype: str = _part("identity", default="auto")
    """float32, bfloat16, float16, or auto (the model's own)."""
    scorer: str | None = _part("identity", default=None)
    """What measures toxicity: `perspective`, `toxic_bert` or `profanity`."""

    @property
    def is_stand_in(self) -> bool:
        """Whether it runs for the sake of running."""
        return self.model == "stand-in"


@dataclass(frozen=True)
class TaskSpec:
    """A benchmark."""

    name: str = _part("identity")
    """One of this project's tasks or any task of lm-eval."""
    limit: int | None = _part("identity", default=None)
    """Score only the first so many items."""
    num_fewshot: int | None = _part("identity", default=None)
    """Examples in the prompt; the task's own number unless given."""
    generation: dict[str, Any] = _part("identity", default_factory=dict)
    """Options of generation that replace the task's own, such as `{do_sample: true}`."""
    contrast: ContrastSpec | None = _part("identity", default=None)
    """Contrast set for this task, instead of the grid's."""
    judges: tuple[JudgeSpec, ...] = _part("identity", default=())
    """Who judges the answers of a task that generates, after all cells have been answered."""
    role: Role = _part("analysis", default="target")
    """What steering is meant to improve, or what it must not harm."""
    margin: float | None = _part("analysis", default=None)
    """Largest loss that still counts as none (capability tasks), in the metric's own scale."""
    metric: str | None = _part("analysis", default=None)
    """Primary metric; the task's own unless given."""

    @property
    def samples(self) -> bool:
        """Whether the grid says that its texts are drawn at random."""
        return bool(self.generation.get("do_sample"))


@dataclass(frozen=True)
class SeedsSpec:
    """Seeds, crossed with everything else."""

    fit: tuple[int, ...] = _part("identity", default=(0,))
    """Training subset, hash functions, features, networks."""
    sample: tuple[int, ...] = _part("identity", default=(0,))
    """Sampled generation: tasks whose `generation` has `do_sample: true`; else the first."""
    fewshot: tuple[int, ...] = _part("identity", default=(0,))
    """Choice of few-shot examples: tasks with `num_fewshot`; for others the first counts."""


@dataclass(frozen=True)
class SelectSpec:
    """How the strength is chosen."""

    metric: str | None = _part("analysis", default=None)
    """Metric to choose by; the task's primary metric unless given."""
    task: str | None = _part("analysis", default=None)
    """Task to choose on for all tasks; unless given, each target task chooses for itself."""
    on: Literal["validation"] = _part("analysis", default="validation")
    """The items to choose on: never the ones reported."""
    share: float = _part("identity", default=0.25)
    """Share of each task's items set aside for choosing."""


@dataclass(frozen=True)
class AnalysisSpec:
    """How the tables are read."""

    baseline: str = _part("analysis", default="none")
    """Label of the method that all others are compared with."""
    confidence: float = _part("analysis", default=0.95)
    """Level of the intervals."""
    correction: Literal["holm", "bh", "max-t"] = _part("analysis", default="holm")
    """Correction within the confirmatory family."""


@dataclass(frozen=True)
class NoiseFloorSpec:
    """A/A pairs: on every model and task the unsteered cell and a steered one are computed twice.

    What differs between the two is noise.
    """

    method: str = _part("identity")
    """Label of the steered method; its first strength, layers and seeds are repeated."""
    batch_size: int | None = _part("runtime", default=None)
    """Of the repetitions; half of the run's unless given."""


LEAST_ITEMS = 10
"""Fewest statements of a diagnosis: below that no interval means anything."""


@dataclass(frozen=True)
class DiagnoseSpec:
    """Measurements on activations at the end of a run (`steereval diagnose`)."""

    items: int = _part("runtime", default=100)
    """Most held-out statements of each contrast set that are measured on."""


@dataclass(frozen=True)
class RunSpec:
    """Where and how cells run; the command line overrides these."""

    workers: int | None = _part("runtime", default=None)
    """Model replicas, or GPUs of them; unless given one for each GPU, and one where there are none.
    More than one are Ray actors."""
    address: str | None = _part("runtime", default=None)
    """A Ray to run on: `auto`, `ray://...`, or `local`, which starts one. Unless given, one worker
    runs in the process itself, and several start a Ray."""
    time_limit: float | None = _part("runtime", default=3600.0)
    """Seconds that a cell may take before its worker counts as hung, loading and fits included; a
    group may take the sum of its cells'. Only for workers that are Ray actors."""
    retries: int = _part("runtime", default=2)
    """How often cells are given to another worker after theirs died."""
    batch_size: int = _part("runtime", default=32)
    """Prompts that generate together, and rows of the plain likelihood path."""
    device: str = _part("runtime", default="auto")
    """cuda, cpu, mps or auto."""
    profile: bool = _part("runtime", default=False)
    """Measure where the time of each group of cells goes."""


@dataclass(frozen=True)
class Grid:
    """A whole grid: methods x models x layers x tasks x strengths x seeds."""

    name: str = _part("analysis")
    """Names the run."""
    models: tuple[ModelSpec, ...] = _part("identity")
    """Models."""
    methods: tuple[MethodSpec, ...] = _part("identity")
    """Methods, the baseline among them."""
    tasks: tuple[TaskSpec, ...] = _part("identity")
    """Tasks."""
    contrast: ContrastSpec | None = _part("identity", default=None)
    """Contrast set of all tasks that name none of their own."""
    positions: str = _part("identity", default="generated")
    """Which tokens are steered."""
    seeds: SeedsSpec = _part("identity", default=SeedsSpec())
    """Seeds."""
    select: SelectSpec | None = _part("analysis", default=None)
    """Choice of the strength; without it every strength is reported."""
    match: Literal["displacement"] | None = _part("identity", default=None)
    """With `displacement` all strengths are mean displacements, and all methods have the same."""
    noise_floor: NoiseFloorSpec | None = _part("identity", default=None)
    """Cells that are computed twice; none unless given."""
    diagnose: DiagnoseSpec | None = _part("runtime", default=None)
    """Measure barrier, trajectories, integrators and costs at the end; not unless given."""
    analysis: AnalysisSpec = _part("analysis", default=AnalysisSpec())
    """How the tables are read."""
    run: RunSpec = _part("runtime", default=RunSpec())
    """Where and how cells run."""

    @property
    def repeat_batch_size(self) -> int:
        """The batch size of cells that are computed a second time, another than the run's."""
        given = self.noise_floor.batch_size if self.noise_floor else None
        return given or (2 if self.run.batch_size == 1 else self.run.batch_size // 2)


_SHORTHANDS = {
    ModelSpec: "name",
    ContrastSpec: "name",
    MethodSpec: "name",
    TaskSpec: "name",
    JudgeSpec: "name",
    NoiseFloorSpec: "method",
}


def load_grid(path: Path) -> Grid:
    """Read and check a grid file. Raises GridError, which names the place and the remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise GridError(
            f"the grid file {path} cannot be read: {error.strerror}", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise GridError(f"the grid file {path} is not UTF-8 text", "Write it as YAML.") from error
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "it does not parse"
        raise GridError(f"{path} is not valid YAML{line}: {problem}", "Mend the line.") from error
    return parse_grid(data)


def _is_yes_or_no(tag: str, first: str) -> bool:
    """Whether a rule of YAML 1.1 turns yes, no, on and off into true and false."""
    return tag == "tag:yaml.org,2002:bool" and first not in "tTfF"


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, and to which `on` and `no` are words."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in rules if not _is_yes_or_no(tag, first)]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", node.start_mark
            )
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_grid(data: Any) -> Grid:
    """A grid from plain values. Raises GridError."""
    grid: Grid = _build(Grid, data, "grid")
    _check(grid)
    return grid


def _build(kind: type, data: Any, where: str) -> Any:
    """An instance of the dataclass `kind` from a mapping, or from its shorthand."""
    if kind in _SHORTHANDS and isinstance(data, str):
        data = {_SHORTHANDS[kind]: data}
    if not isinstance(data, dict):
        raise GridError(f"{where} is {_shown(data)}", "It must be a mapping of keys to values.")
    specs = {spec.name: spec for spec in dataclasses.fields(kind)}
    for key in data:
        if key not in specs:
            raise GridError(f"{where} has an unknown key {key!r}", nearest_remedy(str(key), specs))
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()}
    for name in values:
        if specs[name].metadata["is_path"] and values[name] is not None:
            values[name] = expanded(values[name])
    for name, spec in specs.items():
        required = (
            spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise GridError(f"{where} has no {name!r}", f"Add `{name}: ...`.")
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in get_args(hint) if arg is not type(None))
        return None if value is None else _value(inner, value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise GridError(
                f"{where} is {_shown(value)}", nearest_remedy(str(value), map(str, get_args(hint)))
            )
        return value
    if hint is LayerSet:
        return _layer_set(value, where)
    if origin is tuple:
        inner = get_args(hint)[0]
        items = value if isinstance(value, list) else [value]
        return tuple(_value(inner, item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise GridError(f"{where} is {_shown(value)}", "It must be a mapping.")
        return value
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    return _scalar(hint, value, where)


def _layer_set(value: Any, where: str) -> LayerSet:
    """`14`, `[12, 14]`, `12+14` or `all`, as one text."""
    if value == "all":
        return LayerSet("all")
    parts = value.split("+") if isinstance(value, str) else value
    blocks = parts if isinstance(parts, list) else [parts]
    try:
        numbers = [int(block) for block in blocks if not isinstance(block, (bool, float))]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or len(numbers) < len(blocks):
        raise GridError(
            f"{where} is {_shown(value)}",
            "It must be a whole number, a list of them, or `all`.",
        )
    if min(numbers) < 0:
        raise GridError(f"{where} has layer {min(numbers)}", "Layers count from 0.")
    if len(set(numbers)) < len(numbers):
        raise GridError(f"{where} names a layer twice", "Remove one.")
    return LayerSet("+".join(map(str, numbers)))


def _scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    wanted = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}
    raise GridError(f"{where} is {_shown(value)}", f"It must be {wanted[hint]}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _check(grid: Grid) -> None:
    """Rules that concern several fields, or the range of one."""
    for name in ("models", "methods", "tasks"):
        if not getattr(grid, name):
            raise GridError(f"grid.{name} is empty", "Name at least one.")
    _check_distinct("models", [model.name for model in grid.models])
    _check_distinct("tasks", [task.name for task in grid.tasks])
    _check_distinct("methods", [method.label or method.name for method in grid.methods])
    for model in grid.models:
        _check_model(model)
    for method in grid.methods:
        _check_method(grid, method)
    for task in grid.tasks:
        _check_task(task)
    for contrast in contrasts_of(grid):
        if not 0 < contrast.fraction <= 1:
            raise GridError(
                f"contrast.fraction is {contrast.fraction}", "It lies above 0, up to 1."
            )
    _check_seeds(grid.seeds)
    _check_use_of_seeds(grid)
    _check_choice(grid)
    _check_match(grid)
    _check_noise_floor(grid)
    check_diagnose(grid.diagnose)
    _check_run(grid.run)


def contrasts_of(grid: Grid) -> list[ContrastSpec]:
    """Every contrast set that the grid names, each once."""
    own = [method.contrast for method in grid.methods]
    named = [grid.contrast, *(task.contrast for task in grid.tasks), *own]
    return list(dict.fromkeys(contrast for contrast in named if contrast is not None))


def check_diagnose(given: DiagnoseSpec | None) -> None:
    """Raise GridError for too few items."""
    if given is not None and given.items < LEAST_ITEMS:
        raise GridError(f"diagnose.items is {given.items}", f"Use {LEAST_ITEMS} or more.")


def _check_run(run: RunSpec) -> None:
    if run.batch_size < 1 or (run.workers is not None and run.workers < 1):
        raise GridError("grid.run has a number below 1", "workers and batch_size start at 1.")
    if run.time_limit is not None and run.time_limit <= 0:
        raise GridError(
            f"grid.run.time_limit is {run.time_limit:g}", "Give seconds, or `null` for no limit."
        )
    if run.retries < 0:
        raise GridError(f"grid.run.retries is {run.retries}", "It is 0 or more.")


def _check_distinct(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            remedy = "Give each a `label` of its own." if what == "methods" else "Remove one."
            raise GridError(f"grid.{what} names {name!r} twice", remedy)


def _check_model(model: ModelSpec) -> None:
    if not model.layers:
        raise GridError(f"model {model.name} has no layers", "Add `layers: [14]`.")
    if len(set(model.layers)) < len(model.layers):
        raise GridError(
            f"model {model.name} names a layer twice", "Remove one: cells would repeat."
        )
    if model.gpus <= 0 or (model.gpus > 1 and model.gpus != int(model.gpus)):
        raise GridError(
            f"model {model.name} has gpus: {model.gpus}",
            "Use a fraction up to 1, or a whole number.",
        )
    _check_dtype(f"model {model.name}", model.dtype)


def _check_dtype(owner: str, dtype: str) -> None:
    known = ("float32", "bfloat16", "float16", "auto")
    if dtype not in known:
        raise GridError(f"{owner} has dtype {dtype!r}", nearest_remedy(dtype, known))


def _check_method(grid: Grid, method: MethodSpec) -> None:
    if method.name != "none" and not method.strengths:
        raise GridError(f"method {method.name} has no strengths", "Add `strengths: [1, 2, 4]`.")
    if method.name == "none" and method.strengths:
        raise GridError("method none has strengths", "Remove them: it is the unsteered model.")
    if method.name == "none" and (method.layers or method.positions or method.incremental):
        raise GridError(
            "method none says where it steers", "Remove that: it is the unsteered model."
        )
    if method.name == "none" and method.contrast is not None:
        raise GridError("method none has a contrast", "Remove it: it is the unsteered model.")
    if len(set(method.layers)) < len(method.layers):
        raise GridError(
            f"method {method.name} names a layer twice", "Remove one: cells would repeat."
        )
    _check_tasks_of(grid, method)
    if method.unit == "displacement" or grid.match:
        _check_displacements(method)
    if len(set(method.strengths)) < len(method.strengths):
        raise GridError(
            f"method {method.name} names a strength twice", "Remove one: cells would repeat."
        )


def _check_tasks_of(grid: Grid, method: MethodSpec) -> None:
    known = [task.name for task in grid.tasks]
    for name in method.tasks:
        if name not in known:
            raise GridError(
                f"method {method.label or method.name} names the task {name!r}, which is none of "
                "the grid",
                nearest_remedy(name, known),
            )


def _check_displacements(method: MethodSpec) -> None:
    if method.incremental:
        raise GridError(
            f"method {method.label or method.name} is fitted layer by layer at its own strength",
            "Leave out `incremental`, or give absolute strengths.",
        )
    for strength in method.strengths:
        if strength < 0:
            raise GridError(
                f"method {method.label or method.name} has the displacement {strength:g}",
                "A displacement is 0 or more.",
            )


def _check_task(task: TaskSpec) -> None:
    if task.limit is not None and task.limit < 1:
        raise GridError(
            f"task {task.name} has limit {task.limit}", "Use 1 or more, or leave it out."
        )
    if task.num_fewshot is not None and task.num_fewshot < 0:
        raise GridError(f"task {task.name} has num_fewshot {task.num_fewshot}", "Use 0 or more.")
    for option in task.generation:
        if option not in GENERATION:
            raise GridError(
                f"task {task.name} has an unknown option of generation {option!r}",
                nearest_remedy(str(option), GENERATION),
            )
    if task.margin is not None and task.margin <= 0:
        raise GridError(f"task {task.name} has margin {task.margin}", "A margin is above 0.")
    names = [judge.name for judge in task.judges]
    for judge in task.judges:
        if names.count(judge.name) > 1:
            raise GridError(f"task {task.name} names the judge {judge.name} twice", "Remove one.")
        _check_dtype(f"judge {judge.name} of task {task.name}", judge.dtype)


def _check_match(grid: Grid) -> None:
    """Methods that are compared at equal displacement have the same displacements."""
    if grid.match is None:
        return
    steered = [method for method in grid.methods if method.name != "none"]
    for method in steered:
        label = method.label or method.name
        if method.unit != "absolute":
            raise GridError(
                f"method {label} has unit {method.unit}, and the grid has `match: displacement`",
                "Remove the unit: every strength is a displacement then.",
            )
        if set(method.strengths) != set(steered[0].strengths):
            raise GridError(
                f"method {label} has the displacements {sorted(method.strengths)}, and "
                f"{steered[0].label or steered[0].name} has {sorted(steered[0].strengths)}",
                "With `match: displacement` give all methods the same strengths.",
            )


def _check_seeds(seeds: SeedsSpec) -> None:
    for name in ("fit", "sample", "fewshot"):
        values = getattr(seeds, name)
        if not values or len(set(values)) < len(values) or min(values) < 0:
            raise GridError(
                f"seeds.{name} is {list(values)}", "Give distinct whole numbers from 0 on."
            )


def _check_use_of_seeds(grid: Grid) -> None:
    if len(grid.seeds.sample) > 1 and not any(task.samples for task in grid.tasks):
        raise GridError(
            "seeds.sample has several seeds, and no task samples",
            "Add `generation: {do_sample: true}` to a task, or give one seed.",
        )
    if len(grid.seeds.fewshot) > 1 and not any(task.num_fewshot for task in grid.tasks):
        raise GridError(
            "seeds.fewshot has several seeds, and no task has few-shot examples",
            "Add `num_fewshot` to a task, or give one seed.",
        )


def _check_choice(grid: Grid) -> None:
    labels = [method.label or method.name for method in grid.methods]
    if grid.analysis.baseline not in labels:
        raise GridError(
            f"analysis.baseline is {grid.analysis.baseline!r}, which is no method of the grid",
            f"Add it to methods, or choose from: {', '.join(labels)}.",
        )
    baseline = grid.methods[labels.index(grid.analysis.baseline)]
    missed = [
        task.name for task in grid.tasks if baseline.tasks and task.name not in baseline.tasks
    ]
    if missed:
        raise GridError(
            f"the baseline {grid.analysis.baseline} is not run on {missed[0]}",
            "Remove `tasks` from it: every task needs something to compare with.",
        )
    if not 0.5 < grid.analysis.confidence < 1:
        raise GridError(
            f"analysis.confidence is {grid.analysis.confidence}", "It lies between 0.5 and 1."
        )
    if grid.select is None:
        return
    if not 0 < grid.select.share < 1:
        raise GridError(f"select.share is {grid.select.share}", "It lies between 0 and 1.")
    tasks = [task.name for task in grid.tasks]
    if grid.select.task is not None and grid.select.task not in tasks:
        raise GridError(
            f"select.task is {grid.select.task!r}, which is no task of the grid",
            nearest_remedy(grid.select.task, tasks),
        )


def _check_noise_floor(grid: Grid) -> None:
    if grid.noise_floor is None:
        return
    steered = [method.label or method.name for method in grid.methods if method.name != "none"]
    if grid.noise_floor.method not in steered:
        raise GridError(
            f"noise_floor.method is {grid.noise_floor.method!r}, which is no steered method of "
            "the grid",
            nearest_remedy(grid.noise_floor.method, steered),
        )
    given = grid.noise_floor.batch_size
    if given is not None and (given < 1 or given == grid.run.batch_size):
        raise GridError(
            f"noise_floor.batch_size is {given}",
            f"Give another number than the run's {grid.run.batch_size}, from 1 on.",
        )


def plain(spec: Any) -> Any:
    """A spec as plain values, fit for JSON and for `parse_grid`."""
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        return {f.name: plain(getattr(spec, f.name)) for f in dataclasses.fields(spec)}
    if isinstance(spec, (list, tuple)):
        return [plain(item) for item in spec]
    if isinstance(spec, dict):
        return {key: plain(value) for key, value in spec.items()}
    return spec
