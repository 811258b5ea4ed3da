"""From a contrast set to steerers: texts -> activations -> fit, each made once and kept.

Steerers are kept in memory by what they were fitted to, so that the strengths of a grid share one
fit.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steereval.common.errors import ContrastError, InputError
from steereval.harness.engine.activations import QA_TEMPLATE, ActivationStore, Reader
from steereval.models.artefacts.artefact import Artefact, content_hash, load_artefact
from steereval.models.fitting.contrast_data import ContrastData
from steereval.models.inference.extraction import States, Under
from steereval.models.methods.method import Method, layer_sites
from steereval.models.methods.registry import get_method
from steereval.models.steering.displacement import matched_strength
from steereval.models.steering.hook_points import Site, attention_heads, check_sites, find_blocks
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.phase_clock import phase
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer
from steereval.tasks.contrast.registry import ContrastSet, Statement, question_key
from steereval.tasks.contrast.rewards import rewards_of

TOKENS = {"last": "last token of the text", "mean": "mean over the tokens of the answer"}
"""Where activations can be taken, in words."""
MATCHED_ON = 256
"""Activations on which a displacement is matched, evenly from both classes."""


@dataclass(frozen=True)
class Lower:
    """How the layers below act while the next one is fitted."""

    strength: float
    """Their strength in `unit`: the one at which the steerers will be used."""
    unit: str
    """`absolute` or `relative`."""
    positions: str
    """Which tokens they steer."""


@dataclass(frozen=True)
class FitRequest:
    """All that decides a fit, beside the contrast set and the model."""

    method: str
    """Name of the method."""
    options: Mapping[str, Any]
    """Its options."""
    layers: str
    """Blocks where it reads and acts: `14`, `12+14` or `all`."""
    template: str
    """`qa` or `chat`."""
    fraction: float
    """Share of the contrast's questions drawn."""
    seed: int
    """Fit seed."""
    lower: Lower | None = None
    """Fit layer by layer on activations that the layers below have already steered."""
    token: str = "last"
    """Which state stands for a text: that of its `last` token or the `mean` over its answer's."""

    def key(self, fold: int | None) -> str:
        """Distinguishes fits of one contrast set and model."""
        return json.dumps([dataclasses.asdict(self), fold], default=str, sort_keys=True)


@dataclass
class Fitter:
    """Fits steerers for one model."""

    reader: Reader
    """The loaded model."""
    seconds: float = 0.0
    """Spent on extraction and fits so far."""
    store: ActivationStore = field(init=False)
    """The activations that steerers are fitted to."""
    _state: Hashable = None
    _fits: dict[str, Artefact] = field(default_factory=dict)
    _matches: dict[tuple[str, float], dict[Site, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with nothing read."""
        self.store = ActivationStore(self.reader)

    def fit(self, contrast: ContrastSet, request: FitRequest, fold: int | None) -> Artefact:
        """Steerers fitted to `contrast` without the questions of `fold` (None: with all)."""
        key = contrast.content_hash + request.key(fold)
        return self._kept(
            key, lambda: self._fit(contrast, contrast.training(fold), request, fold)
        )  # fmt: skip

    def fit_part(self, contrast: ContrastSet, part: ContrastSet, request: FitRequest) -> Artefact:
        """Steerers fitted to `part`, whose statements are some of those of `contrast`."""
        key = contrast.content_hash + part.content_hash + request.key(None)
        return self._kept(key, lambda: self._fit(contrast, part, request, None))

    def _kept(self, key: str, make: Callable[[], Artefact]) -> Artefact:
        state = self.reader.state()
        if state != self._state:
            # Weights or tokenisation were replaced: steerers of the old ones are of no use.
            self._state = state
            self._fits.clear()
            self._matches.clear()
        if key not in self._fits:
            start = time.perf_counter()
            with phase("fitting"):
                self._fits[key] = make()
            self.seconds += time.perf_counter() - start
        return self._fits[key]

    def expect(self, contrast: ContrastSet, request: FitRequest) -> None:
        """Announce a fit, so that one pass reads the activations of all fits."""
        method = get_method(request.method)
        wanted = self._wanted(method, request, self.sites(request))
        self.store.expect(contrast, request.template, wanted)

    def sites(self, request: FitRequest) -> tuple[Site, ...]:
        """Where the method of `request` reads in this model. Raises ModelError, InputError."""
        method, model = get_method(request.method), self.reader.model
        layers = parse_layers(request.layers, len(find_blocks(model)))
        heads = attention_heads(model) if method.reads == "heads" else 0
        sites = layer_sites(method, layers, heads)
        check_sites(model, sites)
        return sites

    def vector(self, request: FitRequest) -> Artefact:
        """Steerers that come from a file and are fitted to nothing."""
        method = get_method(request.method)
        options = method.options(request.options)
        steerers = method.from_file(self.sites(request), options)
        card = {"method": request.method, "options": dict(request.options)}
        return Artefact(steerers, card | {"steerers_sha256": content_hash(steerers)})

    def _fit(
        self, contrast: ContrastSet, chosen: ContrastSet, request: FitRequest, fold: int | None
    ) -> Artefact:
        method = get_method(request.method)
        options = method.options(request.options)
        statements = _statements_of(chosen, request)
        sites = self.sites(request)
        wanted = self._wanted(method, request, sites)
        states = self.states(contrast, statements, request.template, wanted)
        data = _data(sites, statements, states, request.token)
        if "tokens" in wanted:
            lengths = self.store.answer_lengths(statements, request.template)
            data = _with_answers(
                data, states["tokens"], lengths, statements, method.reward(options)
            )
        if request.lower is None:
            steerers = method.fit(data, options, request.seed)
        else:
            steerers = self._layer_by_layer(method, options, data, statements, request)
        return Artefact(steerers, self._card(contrast, statements, request, fold, steerers))

    def matched(
        self,
        contrast: ContrastSet,
        chosen: ContrastSet,
        request: FitRequest,
        artefact: Artefact,
        displacement: float,
    ) -> dict[Site, float]:
        """The strength of `artefact` at each site at which the activations of `chosen`, statements
        of `contrast` that it was fitted to, move by `displacement` on average.

        Raises what `matched_strength` raises.
        """
        key = artefact.card["steerers_sha256"], displacement
        if key not in self._matches:
            statements = _statements_of(chosen, request)
            some = statements[:: math.ceil(len(statements) / MATCHED_ON)]
            steerers = artefact.steerers
            asks = any(steerer.per_query for steerer in steerers.values())
            parts = [request.token, *(["query"] if asks else [])]
            wanted = {part: list(steerers) for part in parts}
            states = self.states(contrast, some, request.template, wanted)
            x, queries = states[request.token], states.get("query", states[request.token])
            self._matches[key] = {
                site: matched_strength(steerer, x[site], queries[site], displacement)
                for site, steerer in steerers.items()
            }
        return self._matches[key]

    def _wanted(
        self, method: Method, request: FitRequest, sites: Sequence[Site]
    ) -> dict[str, Sequence[Site]]:
        """Which parts of the activations a method needs."""
        needs = method.needs(method.options(request.options))
        parts = {"last": request.token == "last", "query": "queries" in needs,
                 "mean": request.token == "mean" or "positive_means" in needs,
                 "tokens": "trajectories" in needs}  # fmt: skip
        return {part: sites for part, needed in parts.items() if needed}

    def states(
        self, contrast: ContrastSet, statements: Sequence[Statement], template: str, wanted: Any
    ) -> States:
        """The states of some statements, in their order."""
        if "query" in wanted and any(s.question is None for s in statements):
            raise ContrastError(
                f"contrast set {contrast.name} has no questions, which this method starts from",
                "Use a contrast set whose statements answer questions.",
            )
        states = self.store.states(contrast, template, wanted)
        row = {statement: index for index, statement in enumerate(contrast.statements)}
        rows = torch.tensor([row[s] for s in statements])
        found: States = {}
        for part, by_site in states.items():
            chosen = rows if part != "tokens" else self._token_rows(contrast, template, rows)
            found[part] = {site: values[chosen] for site, values in by_site.items()}
        return found

    def _token_rows(self, contrast: ContrastSet, template: str, rows: Tensor) -> Tensor:
        """Rows of the part `tokens` that belong to the statements of the given rows."""
        lengths = torch.tensor(self.store.answer_lengths(contrast.statements, template))
        starts = lengths.cumsum(0) - lengths
        spans = [torch.arange(int(starts[r]), int(starts[r] + lengths[r])) for r in rows]
        return torch.cat(spans)

    def _layer_by_layer(
        self,
        method: Method,
        options: Any,
        data: ContrastData,
        statements: Sequence[Statement],
        request: FitRequest,
    ) -> dict[Site, Steerer]:
        """Fit each layer to negatives that the layers below have already steered.

        Rodriguez et al. 2025 (arXiv 2410.23054) fit their transport so; positives, the target,
        stay as they are.
        """
        assert request.lower is not None
        method.check_incremental(options)
        lower = request.lower
        negative = [s for s in statements if not s.positive]
        steerers: dict[Site, Steerer] = {}
        for site in data.sites:
            rows = data.negative[site]
            if steerers:
                acting = Intervention(dict(steerers), lower.strength, lower.unit, method.name)
                under = Under(acting, Positions(lower.positions))
                read = self.store.states_under(
                    negative, request.template, {request.token: [site]}, under
                )
                rows = read[request.token][site]
            alone = ContrastData({site: data.positive[site]}, {site: rows}, pairs=data.pairs)
            steerers |= method.fit(alone, options, request.seed)
        return steerers

    def _card(
        self,
        contrast: ContrastSet,
        statements: Sequence[Statement],
        request: FitRequest,
        fold: int | None,
        steerers: Mapping[Site, Steerer],
    ) -> dict[str, Any]:
        template = QA_TEMPLATE if request.template == "qa" else "chat template"
        curves = {str(site): curve for site, s in steerers.items() if (curve := training_of(s))}
        return {
            "method": request.method,
            "options": dict(request.options),
            "seed": request.seed,
            "layers": request.layers,
            "sites": [str(site) for site in sorted(steerers)],
            "layer_by_layer": None if request.lower is None else dataclasses.asdict(request.lower),
            "model": self.reader.asked_for[0],
            "model_revision": self.reader.asked_for[1],
            "weights": self.store.weights,
            "contrast": contrast.name,
            "contrast_version": contrast.version,
            "contrast_hash": contrast.content_hash,
            "fraction": request.fraction,
            "fold_left_out": fold,
            "n_positive": sum(s.positive for s in statements),
            "n_negative": sum(not s.positive for s in statements),
            "template": template,
            "token": TOKENS[request.token],
            "training": curves,
            "steerers_sha256": content_hash(steerers),
        }


def parse_layers(layers: str, blocks: int) -> tuple[int, ...]:
    """Block numbers from `14`, `12+14` or `all`. Raises InputError."""
    if layers == "all":
        return tuple(range(blocks))
    try:
        found = tuple(int(part) for part in layers.split("+"))
    except ValueError:
        found = (-1,)
    if min(found) < 0 or len(set(found)) < len(found):
        raise InputError(
            f"layer {layers!r} names no blocks",
            "Write layer=14 (0-based), layer=12+14, or layer=all.",
        )
    return found


def training_of(steerer: Steerer) -> dict[str, Any]:
    """The curves of a steerer's training, or of the one that it wraps; empty if there was none."""
    curves = getattr(steerer, "training", None)
    inner = getattr(steerer, "inner", None)
    return dict(curves) if curves else training_of(inner) if inner is not None else {}


def _statements_of(chosen: ContrastSet, request: FitRequest) -> list[Statement]:
    """What a fit sees of the statements `chosen`, positive ones first."""
    if request.fraction < 1:
        chosen = chosen.subset(request.fraction, request.seed)
    return _by_class(chosen, chosen.statements)


def _by_class(contrast: ContrastSet, chosen: Sequence[Statement]) -> list[Statement]:
    """The statements, positive ones first."""
    positive = [s for s in chosen if s.positive]
    negative = [s for s in chosen if not s.positive]
    if not positive or not negative:
        raise ContrastError(
            f"contrast set {contrast.name} leaves {len(positive)} positive and "
            f"{len(negative)} negative texts to fit to",
            "Use a larger fraction, or a larger set.",
        )
    return positive + negative


def _data(
    sites: Sequence[Site], statements: Sequence[Statement], states: States, token: str
) -> ContrastData:
    """The states of statements, positive ones first, in the form that methods take."""
    count = sum(s.positive for s in statements)
    positive = {site: states[token][site][:count] for site in sites}
    negative = {site: states[token][site][count:] for site in sites}
    numbers, first = _queries(statements)
    extra: dict[str, Any] = {}
    if "query" in states:
        extra["queries"] = {site: states["query"][site][first] for site in sites}
    if "mean" in states:
        extra["positive_means"] = {site: states["mean"][site][:count] for site in sites}
        extra["negative_means"] = {site: states["mean"][site][count:] for site in sites}
    return ContrastData(
        positive,
        negative,
        pairs=_pairs(statements[:count], statements[count:]),
        positive_query=numbers[:count],
        negative_query=numbers[count:],
        **extra,
    )


def _with_answers(
    data: ContrastData,
    tokens: Mapping[Site, Tensor],
    lengths: Sequence[int],
    statements: Sequence[Statement],
    reward: str,
) -> ContrastData:
    """The states of every token of every answer, and what the answer is worth."""
    return dataclasses.replace(
        data,
        trajectories={site: torch.split(states, list(lengths)) for site, states in tokens.items()},
        rewards=torch.tensor(rewards_of(reward, statements)),
    )


def _queries(statements: Sequence[Statement]) -> tuple[Tensor, Tensor]:
    """Number of each statement's query, and the first statement of each query."""
    first: dict[str, int] = {}
    for index, statement in enumerate(statements):
        first.setdefault(statement.key, index)
    order = {key: number for number, key in enumerate(first)}
    return torch.tensor([order[s.key] for s in statements]), torch.tensor(list(first.values()))


def _pairs(positive: Sequence[Statement], negative: Sequence[Statement]) -> Tensor | None:
    """Rows of positive and negative statements with the same pair number."""
    rows = {s.pair: index for index, s in enumerate(negative) if s.pair is not None}
    pairs = [[i, rows[s.pair]] for i, s in enumerate(positive) if s.pair in rows]
    return torch.tensor(pairs) if pairs else None


@dataclass(frozen=True)
class Treatment:
    """A steered model as lm-eval sees it: which steerers act on which document."""

    label: str
    """Names it in errors."""
    strength: float
    """Strength in `unit`."""
    unit: str
    """`absolute`, `relative` or `displacement`."""
    positions: Positions
    """Which tokens are steered."""
    fit: Callable[[int | None], Artefact]
    """Steerers fitted without a fold; called with None for documents outside the contrast."""
    fold_of: Callable[[str], int | None]
    """Fold of a question, None if the contrast does not hold it."""
    matched: Callable[[int | None], Mapping[Site, float]] | None = None
    """Strength by site for the unit `displacement`, of the steerers of a fold."""

    def route(self, document: Any) -> int | None:
        """The fold whose steerer must not have seen `document`: cross-fitting, without which a
        benchmark built from the contrast's own questions would be tested on its training set."""
        if self.strength == 0:
            return None
        question = document.get("question") if isinstance(document, dict) else None
        return self.fold_of(question) if isinstance(question, str) else None

    def intervention(self, fold: int | None) -> Intervention:
        """What acts on documents of `fold`."""
        if self.strength == 0:
            return Intervention({}, 0.0)
        matched = self.matched(fold) if self.matched is not None else None
        return Intervention(self.fit(fold).steerers, self.strength, self.unit, self.label, matched)


def unsteered() -> Treatment:
    """The model as it is."""
    nothing = Artefact({}, {})
    return Treatment(
        "none", 0.0, "absolute", Positions("generated"), lambda _: nothing, lambda _: None
    )


def fitted(
    fitter: Fitter,
    contrast: ContrastSet,
    request: FitRequest,
    strength: float,
    unit: str,
    positions: Positions,
) -> Treatment:
    """Steerers that are fitted when first needed, cross-fitted where the contrast has folds."""

    def matched(fold: int | None) -> Mapping[Site, float]:
        artefact = fitter.fit(contrast, request, fold)
        return fitter.matched(contrast, contrast.training(fold), request, artefact, strength)

    return Treatment(
        f"{request.method} at strength {strength:g}",
        strength,
        unit,
        positions,
        lambda fold: fitter.fit(contrast, request, fold),
        folds_of(contrast),
        matched if unit == "displacement" else None,
    )


def folds_of(contrast: ContrastSet) -> Callable[[str], int | None]:
    """The fold of each question, None where `contrast` does not hold it.

    The function raises ContrastError for a question that a contrast without folds does hold.
    """

    def fold_of(question: str) -> int | None:
        key = question_key(question)
        if contrast.n_folds == 1 and key in contrast.keys:
            raise ContrastError(
                f"contrast set {contrast.name} holds the question {question!r}, which is tested",
                "Remove the task's own questions from it: a test on them would mean nothing.",
            )
        return contrast.fold_of(key)

    return fold_of


def from_artefact(folder: Path, strength: float, unit: str, positions: Positions) -> Treatment:
    """Steerers from disk; they act on every document alike."""
    return unfitted(load_artefact(folder), f"steerer {folder}", strength, unit, positions)


def unfitted(
    artefact: Artefact, name: str, strength: float, unit: str, positions: Positions
) -> Treatment:
    """Steerers that are there already; they act on every document alike."""
    if unit == "displacement" and strength:
        raise InputError(
            f"{name} was fitted elsewhere, so there are no activations to match a displacement on",
            "Use absolute strengths, or fit the method to a contrast.",
        )
    label = f"{name} at strength {strength:g}"
    return Treatment(label, strength, unit, positions, lambda _: artefact, lambda _: None)
