"""From a contrast set to steerers: texts -> activations -> fit, each made once and kept.

Steerers are kept in memory by what they were fitted to, so that the strengths of a grid share one
fit.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steereval.common.errors import ContrastError, InputError
from steereval.harness.engine.activations import QA_TEMPLATE, ActivationStore, Reader
from steereval.harness.engine.fit_data import chosen_statements, contrast_data, with_answers
from steereval.harness.engine.fit_request import TOKENS, FitRequest
from steereval.models.artefacts.artefact import Artefact, content_hash
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
from steereval.tasks.contrast.registry import ContrastSet, Statement

MATCHED_ON = 256
"""Activations on which a displacement is matched, evenly from both classes."""


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
        statements = chosen_statements(chosen, request)
        sites = self.sites(request)
        wanted = self._wanted(method, request, sites)
        states = self.states(contrast, statements, request.template, wanted)
        data = contrast_data(sites, statements, states, request.token)
        if "tokens" in wanted:
            lengths = self.store.answer_lengths(statements, request.template)
            data = with_answers(data, states["tokens"], lengths, statements, method.reward(options))
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
            statements = chosen_statements(chosen, request)
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
        selected: States = {}
        for part, by_site in states.items():
            chosen = rows if part != "tokens" else self._token_rows(contrast, template, rows)
            selected[part] = {site: values[chosen] for site, values in by_site.items()}
        return selected

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
    """Block numbers from `14`, `12+14`, `-1` (the last) or `all`.

    Raises:
        InputError: The text has another form, or names a block twice.
    """
    if layers == "all":
        return tuple(range(blocks))
    try:
        given = tuple(int(part) for part in layers.split("+"))
    except ValueError:
        given = ()
    numbers = tuple(number + blocks if -blocks <= number < 0 else number for number in given)
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise InputError(
            f"layer {layers!r} names no blocks of a model with {blocks}",
            "Write layer=14 (0-based), layer=12+14, layer=-1 for the last block, or layer=all.",
        )
    return numbers


def training_of(steerer: Steerer) -> dict[str, Any]:
    """The curves of a steerer's training, or of the one that it wraps; empty if there was none."""
    curves = getattr(steerer, "training", None)
    inner = getattr(steerer, "inner", None)
    return dict(curves) if curves else training_of(inner) if inner is not None else {}
