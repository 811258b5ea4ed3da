"""The parts of a grid file, as frozen pydantic dataclasses.

A field's type names what it is part of (`Identity`, `Analysis`, `Runtime`), and its docstring is
its description in the JSON schema and in docs/grid.md.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BeforeValidator, ConfigDict, Strict
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from steereval.common.limits import Fraction, NotNegative, Positive
from steereval.common.paths import expanded
from steereval.common.validation import fault
from steereval.harness.config.fields import (
    STRICT,
    Analysis,
    Count,
    Devices,
    Flag,
    Identity,
    IdentityIfGiven,
    Layers,
    Listed,
    Named,
    Number,
    PathText,
    Runtime,
    Seeds,
    Strengths,
    Text,
    Whole,
    short_for,
)

Unit = Literal["absolute", "relative", "displacement"]
Role = Literal["target", "capability"]
Answers = Literal["all", "best"]
Template = Literal["qa", "chat"]
Token = Literal["last", "mean"]
Dtype = Literal["float32", "bfloat16", "float16", "auto"]


@dataclass(frozen=True, config=STRICT)
class ModelSpec:
    """A language model and where to steer it."""

    name: Identity[PathText]
    """A bundled model (`steereval models`), a folder, or a name on the hub."""
    layers: Identity[Layers]
    """0-based blocks; each is a column of its own in the grid. A list within the list, or `all`, is
    one column in which several are steered together."""
    dtype: Identity[Dtype] = "float32"
    """float32, bfloat16, float16, or auto (the model's own)."""
    revision: Identity[Text] = "main"
    """Branch, tag or commit on the hub."""
    peft: Identity[PathText | None] = None
    """A PEFT adapter to load on top."""
    chat_template: Identity[Flag] = False
    """Whether prompts go through the tokenizer's chat template."""
    model_args: IdentityIfGiven[dict[Text, Any]] = field(default_factory=dict)
    """Options of lm-eval's `hf` (`tokenizer`, `trust_remote_code`, `add_bos_token`, `max_length`,
    `attn_implementation`, `load_in_8bit`, ...), and `system_instruction`. `dtype`, `revision` and
    `peft` may stand here too."""
    gpus: Runtime[Devices] = 1.0
    """GPUs of each replica: a fraction such as 0.25 lets several share one, 2 and more spread the
    model over several. Without effect where there is no GPU."""

    def __hash__(self) -> int:
        """A hash for keys of mappings: `model_args` has none of its own."""
        return hash(repr(self))

    def without_layers(self) -> ModelSpec:
        """The model as it is loaded: every field but the layers, which are the cells' own."""
        return dataclasses.replace(self, layers=())


_LIFTED = ("dtype", "revision", "peft")
"""Keys of a model that `model_args` may hold, as in lm-eval."""


def _lifted(model: Any) -> Any:
    """A model's mapping with the keys that it has itself out of its `model_args`."""
    args = model.get("model_args") if isinstance(model, dict) else None
    if not isinstance(args, dict):
        return model
    for name in _LIFTED:
        if name in args and name in model:
            raise fault(
                f"{{where}} has {name}, and its model_args have it too", "Remove one of the two."
            )
    lifted = {name: args[name] for name in _LIFTED if name in args}
    rest = {
        name: expanded(value) if name in _PATHS and isinstance(value, str) else value
        for name, value in args.items()
        if name not in _LIFTED
    }
    return {**model, **lifted, "model_args": rest}


_PATHS = ("tokenizer", "delta", "offload_folder")
"""Options of `model_args` whose text may be a path."""


@dataclass(frozen=True, config=STRICT)
class ContrastSpec:
    """Data that steerers are fitted to."""

    name: Identity[PathText]
    """A contrast set (`steereval tasks`) or the path of a .jsonl file."""
    answers: Identity[Answers] = "all"
    """All answers of a question, or the best one of each class."""
    template: Identity[Template] = "qa"
    """Text around question and answer: `Q: .. A: ..`, or the chat template."""
    token: Identity[Token] = "last"
    """Where activations are taken: at the last token, or the mean over the answer's tokens."""
    fraction: Identity[Annotated[Number, Gt(0), Le(1)]] = 1.0
    """Share of the questions that each fit seed draws."""


@dataclass(frozen=True, config=STRICT)
class MethodSpec:
    """A steering method and the strengths to try."""

    name: Identity[Text]
    """A method (`steereval methods`)."""
    strengths: Identity[Strengths] = ()
    """Strengths, in `unit`. Every method but `none` needs at least one."""
    unit: Identity[Unit] = "absolute"
    """The method's own unit (absolute), multiples of the median activation norm (relative), or the
    mean displacement, in median norms (displacement)."""
    options: Identity[dict[Text, Any]] = field(default_factory=dict)
    """Options of the method."""
    layers: Identity[Layers] = ()
    """Blocks for this method, instead of the model's."""
    positions: Identity[Text | None] = None
    """Which tokens this method steers, instead of the grid's."""
    incremental: Identity[Flag] = False
    """Fit layer by layer on activations that the layers below have already steered."""
    contrast: Identity[Named[ContrastSpec] | None] = None
    """Contrast set for this method on all tasks, instead of theirs."""
    tasks: Identity[Listed[Text]] = ()
    """Names of the only tasks that this method is run on; all of the grid's unless given."""
    label: Analysis[Text] = ""
    """Name in tables; the method's name unless given. Tells two variants of a method apart."""


Real = Annotated[int, Strict()] | Annotated[float, Strict()]
"""A number that stays as it is written: an option of generation is part of the cell's id."""


class Generation(TypedDict, total=False):
    """Options of generation that a grid may set."""

    __pydantic_config__ = ConfigDict(**STRICT)  # type: ignore[misc]

    do_sample: Flag
    """Draw tokens at random."""
    temperature: Real
    """Divides the logits before a token is drawn."""
    top_k: Whole
    """Draw among so many of the most probable tokens."""
    top_p: Real
    """Draw among the most probable tokens that together have this probability."""
    repetition_penalty: Real
    """Divides the logits of tokens that have occurred."""
    no_repeat_ngram_size: Whole
    """Never repeat so many tokens in a row."""
    max_gen_toks: Whole
    """Most tokens of a text."""
    until: Text | list[Text]
    """Texts that end the generation."""
    num_beams: Whole
    """Beams of a beam search."""


@dataclass(frozen=True, config=STRICT)
class JudgeSpec:
    """A model or service that judges what a task's cells have written."""

    name: Identity[Text]
    """`truth`, `info`, `reward`, `toxicity` or `fluency`."""
    model: Identity[PathText | None] = None
    """A folder, a bundled model or a name on the hub instead of the published judge; `stand-in`
    for a tiny one with random weights, whose numbers are never scores."""
    revision: Identity[Text] = "main"
    """Branch, tag or commit of the model on the hub."""
    dtype: Identity[Dtype] = "auto"
    """float32, bfloat16, float16, or auto (the model's own)."""
    scorer: Identity[Text | None] = None
    """Scorer of toxicity: `perspective`, `toxic_bert` or `profanity`."""

    @property
    def is_stand_in(self) -> bool:
        """Whether it runs for the sake of running."""
        return self.model == "stand-in"


@dataclass(frozen=True, config=STRICT)
class TaskSpec:
    """A benchmark."""

    name: Identity[Text]
    """One of this project's tasks, any task of lm-eval, or one of `include_path`. A group with a
    score of its own (`mmlu`) is one task, whose clusters are its subtasks; another group or a tag
    stands for its tasks."""
    limit: Identity[Count | None] = None
    """Score only this many items, the first ones; of a group, this many of each subtask."""
    num_fewshot: Identity[NotNegative[Whole] | None] = None
    """Examples in the prompt; the task's own number unless given."""
    generation: Identity[Generation] = field(default_factory=Generation)
    """Options of generation that replace the task's own, such as `{do_sample: true}`."""
    contrast: Identity[Named[ContrastSpec] | None] = None
    """Contrast set for this task, instead of the grid's."""
    judges: Identity[Listed[Named[JudgeSpec]]] = ()
    """Who judges the answers of a task that generates, after all cells have been answered."""
    role: Analysis[Role] = "target"
    """What steering is meant to improve, or what it must not harm."""
    include_hash: IdentityIfGiven[Text] = ""
    """Hash of the files of `include_path` if the task comes from there. The program adds it; a grid
    that holds it is refused with other files."""
    margin: Analysis[Positive[Number] | None] = None
    """Largest loss that still counts as none (capability tasks), in the metric's own scale."""
    metric: Analysis[Text | None] = None
    """Primary metric; the task's own unless given."""

    @property
    def samples(self) -> bool:
        """Whether the grid says that its texts are drawn at random."""
        return bool(self.generation.get("do_sample"))


@dataclass(frozen=True, config=STRICT)
class SeedsSpec:
    """Seeds, crossed with everything else."""

    fit: Identity[Seeds] = (0,)
    """Training subset, hash functions, features, networks."""
    sample: Identity[Seeds] = (0,)
    """Sampled generation: tasks whose `generation` has `do_sample: true`; else the first."""
    fewshot: Identity[Seeds] = (0,)
    """Choice of few-shot examples: tasks with `num_fewshot`; for others the first counts."""


@dataclass(frozen=True, config=STRICT)
class SelectSpec:
    """How the strength is chosen."""

    metric: Analysis[Text | None] = None
    """Metric to choose by; the task's primary metric unless given."""
    task: Analysis[Text | None] = None
    """Task to choose on for all tasks; unless given, each target task chooses for itself."""
    on: Analysis[Literal["validation"]] = "validation"
    """The items to choose on: never the ones reported."""
    share: Identity[Annotated[Fraction, Strict()]] = 0.25
    """Share of each task's items set aside for choosing."""
    layers: Analysis[Flag] = False
    """Whether the layer of each method is chosen too, together with its strength."""


@dataclass(frozen=True, config=STRICT)
class AnalysisSpec:
    """How the tables are read."""

    baseline: Analysis[Text] = "none"
    """Label of the method that all others are compared with."""
    confidence: Analysis[Annotated[Number, Gt(0.5), Lt(1)]] = 0.95
    """Level of the intervals."""
    correction: Analysis[Literal["holm", "bh", "max-t"]] = "holm"
    """Correction within the confirmatory family."""


@dataclass(frozen=True, config=STRICT)
class NoiseFloorSpec:
    """A/A pairs: on every model and task the unsteered cell and a steered one are computed twice.

    What differs between the two is noise.
    """

    method: Identity[Text]
    """Label of the steered method; its first cell is repeated, and the unsteered one."""
    batch_size: Runtime[Count | None] = None
    """Of the repetitions; half of the run's unless given."""


LEAST_ITEMS = 10
"""Fewest statements of a diagnosis: below that no interval means anything."""


@dataclass(frozen=True, config=STRICT)
class DiagnoseSpec:
    """Measurements on activations at the end of a run (`steereval diagnose`)."""

    items: Runtime[Annotated[Whole, Ge(LEAST_ITEMS)]] = 100
    """Most held-out statements of each contrast set that are measured on."""


@dataclass(frozen=True, config=STRICT)
class RunSpec:
    """Where and how cells run; the command line overrides these."""

    workers: Runtime[Count | None] = None
    """Model replicas, or GPUs of them; unless given one for each GPU, and one where there are none.
    More than one are Ray actors."""
    address: Runtime[Text | None] = None
    """A Ray to run on: `auto`, `ray://...`, or `local`, which starts one. Unless given, one worker
    runs in the process itself, and several start a Ray."""
    time_limit: Runtime[Positive[Number] | None] = 3600.0
    """Seconds that a cell may take before its worker counts as hung, loading and fits included; a
    group may take the sum of its cells'. Only for workers that are Ray actors."""
    retries: Runtime[NotNegative[Whole]] = 2
    """How often cells are given to another worker after theirs died."""
    batch_size: Runtime[Count] = 32
    """Prompts that generate together, and rows of the plain likelihood path."""
    device: Runtime[Text] = "auto"
    """cuda, cpu, mps or auto."""
    profile: Runtime[Flag] = False
    """Measure where the time of each group of cells goes."""


@dataclass(frozen=True, config=STRICT)
class Grid:
    """A whole grid: methods x models x layers x tasks x strengths x seeds."""

    name: Analysis[Text]
    """Names the run."""
    models: Identity[
        Annotated[Listed[Annotated[Named[ModelSpec], BeforeValidator(_lifted)]], MinLen(1)]
    ]
    """Models."""
    methods: Identity[Annotated[Listed[Named[MethodSpec]], MinLen(1)]]
    """Methods, the baseline among them."""
    tasks: Identity[Annotated[Listed[Named[TaskSpec]], MinLen(1)]]
    """Tasks."""
    contrast: Identity[Named[ContrastSpec] | None] = None
    """Contrast set of all tasks that name none of their own."""
    include_path: Runtime[PathText | None] = None
    """A folder with lm-eval tasks of one's own, relative to the grid file. Its content is part of
    the identity of the cells that use one of them."""
    positions: Identity[Text] = "generated"
    """Which tokens are steered."""
    seeds: Identity[SeedsSpec] = SeedsSpec()
    """Seeds."""
    select: Analysis[SelectSpec | None] = None
    """Choice of the strength; without it every strength is reported."""
    match: Identity[Literal["displacement"] | None] = None
    """With `displacement` all strengths are mean displacements, and all methods have the same."""
    noise_floor: Identity[Annotated[NoiseFloorSpec, short_for("method")] | None] = None
    """Cells that are computed twice; none unless given."""
    diagnose: Runtime[DiagnoseSpec | None] = None
    """Measure barrier, trajectories, integrators and costs at the end; not unless given."""
    analysis: Analysis[AnalysisSpec] = AnalysisSpec()
    """How the tables are read."""
    run: Runtime[RunSpec] = RunSpec()
    """Where and how cells run."""

    @property
    def repeat_batch_size(self) -> int:
        """The batch size of cells that are computed a second time, another than the run's."""
        given = self.noise_floor.batch_size if self.noise_floor else None
        return given or (2 if self.run.batch_size == 1 else self.run.batch_size // 2)
