"""From a contrast set to steerers: texts -> activations -> fit, each made once and kept.

Activations are kept in the cache folder under a key of all that decides them; steerers are kept
in memory by what they were fitted to, so that the strengths of a grid share one fit.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from steereval.cache import cache_folder
from steereval.errors import ContrastError
from steereval.models.artefact import Artefact, load_artefact
from steereval.models.extraction import last_token_states
from steereval.models.hooks import Intervention
from steereval.models.methods.registry import get_method
from steereval.models.positions import Positions
from steereval.models.sites import Site, check_sites
from steereval.models.steerer import ContrastData
from steereval.tasks.contrast import ContrastSet, Statement, question_key

QA_TEMPLATE = "Q: {question}\nA: {answer}"


class Reader(Protocol):
    """What fitting needs of a loaded language model."""

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        ...

    @property
    def asked_for(self) -> tuple[str, str]:
        """Name and revision under which the model was asked for."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the weights: name, revision, adapter, dtype."""
        ...

    def shares(self, length: int) -> bool:
        """Whether texts of up to `length` tokens may share what they have in common."""
        ...

    def encode(self, text: str, special_tokens: bool) -> list[int]:
        """Token ids of `text`, with BOS where the model wants one and `special_tokens` is set."""
        ...

    def chat(self, question: str, answer: str) -> str:
        """Question and unfinished answer in the model's chat template."""
        ...


@dataclass(frozen=True)
class FitRequest:
    """All that decides a fit, beside the contrast set and the model."""

    method: str
    """Name of the method."""
    options: dict[str, Any]
    """Its options."""
    sites: tuple[Site, ...]
    """Where it reads and acts."""
    template: str
    """`qa` or `chat`."""
    fraction: float
    """Share of the contrast's questions drawn."""
    seed: int
    """Fit seed."""

    def key(self, fold: int | None) -> str:
        """Distinguishes fits of one contrast set and model."""
        values = (self.method, sorted(self.options.items()), [str(s) for s in self.sites])
        return json.dumps([*values, self.template, self.fraction, self.seed, fold], default=str)


@dataclass
class Fitter:
    """Fits steerers for one model."""

    reader: Reader
    """The loaded model."""
    seconds: float = 0.0
    """Spent on extraction and fits so far."""
    _states: dict[str, dict[Site, Tensor]] = field(default_factory=dict)
    _fits: dict[str, Artefact] = field(default_factory=dict)

    def fit(self, contrast: ContrastSet, request: FitRequest, fold: int | None) -> Artefact:
        """Steerers fitted to `contrast` without the questions of `fold` (None: with all)."""
        key = contrast.content_hash + request.key(fold)
        if key not in self._fits:
            start = time.perf_counter()
            self._fits[key] = self._fit(contrast, request, fold)
            self.seconds += time.perf_counter() - start
        return self._fits[key]

    def _fit(self, contrast: ContrastSet, request: FitRequest, fold: int | None) -> Artefact:
        method = get_method(request.method)
        check_sites(self.reader.model, request.sites)
        chosen = contrast.training(fold)
        if request.fraction < 1:
            chosen = chosen.subset(request.fraction, request.seed)
        data = self._data(contrast, chosen.statements, request)
        steerers = method.fit(data, method.options(request.options), request.seed)
        return Artefact(steerers, self._card(contrast, chosen.statements, request, fold))

    def _data(
        self, contrast: ContrastSet, statements: Sequence[Statement], request: FitRequest
    ) -> ContrastData:
        states = self.states(contrast, request.template, request.sites)
        row = {statement: index for index, statement in enumerate(contrast.statements)}
        positive = [s for s in statements if s.positive]
        negative = [s for s in statements if not s.positive]
        if not positive or not negative:
            raise ContrastError(
                f"contrast set {contrast.name} leaves {len(positive)} positive and "
                f"{len(negative)} negative texts to fit to",
                "Use a larger fraction, or a larger set.",
            )
        return ContrastData(
            {site: states[site][[row[s] for s in positive]] for site in request.sites},
            {site: states[site][[row[s] for s in negative]] for site in request.sites},
            pairs=_pairs(positive, negative),
        )

    def states(
        self, contrast: ContrastSet, template: str, sites: Sequence[Site]
    ) -> dict[Site, Tensor]:
        """Last-token states [statements, d] of all statements, extracted once and kept."""
        known = self._states.setdefault(contrast.content_hash + template, {})
        files = {site: self._states_file(contrast, template, site) for site in sites}
        for site in sites:
            if site not in known and (states := _read_states(files[site])) is not None:
                known[site] = states
        missing = [site for site in sites if site not in known]
        if missing:
            texts = [self._tokens(statement, template) for statement in contrast.statements]
            share = self.reader.shares(max(len(text) for text in texts))
            found = last_token_states(self.reader.model, texts, missing, share)
            for site, states in found.items():
                _write_states(files[site], states)
            known.update(found)
        return {site: known[site] for site in sites}

    def _states_file(self, contrast: ContrastSet, template: str, site: Site) -> Path:
        parts = [self.reader.fingerprint, contrast.content_hash, template, str(site), "last", "1"]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
        return cache_folder() / "activations" / f"{digest}.safetensors"

    def _tokens(self, statement: Statement, template: str) -> list[int]:
        if template == "chat":
            if statement.question is None:
                raise ContrastError(
                    "the chat template needs questions, and this contrast set has none",
                    "Use `template: qa`, which takes the text as it is.",
                )
            chat = self.reader.chat(statement.question, statement.answer)
            return self.reader.encode(chat, special_tokens=False)
        if statement.question is None:
            return self.reader.encode(statement.answer, special_tokens=True)
        text = QA_TEMPLATE.format(question=statement.question, answer=statement.answer)
        return self.reader.encode(text, special_tokens=True)

    def _card(
        self,
        contrast: ContrastSet,
        statements: Sequence[Statement],
        request: FitRequest,
        fold: int | None,
    ) -> dict[str, Any]:
        template = QA_TEMPLATE if request.template == "qa" else "chat template"
        return {
            "method": request.method,
            "options": request.options,
            "seed": request.seed,
            "model": self.reader.asked_for[0],
            "model_revision": self.reader.asked_for[1],
            "weights": self.reader.fingerprint,
            "contrast": contrast.name,
            "contrast_version": contrast.version,
            "contrast_hash": contrast.content_hash,
            "fraction": request.fraction,
            "fold_left_out": fold,
            "n_positive": sum(s.positive for s in statements),
            "n_negative": sum(not s.positive for s in statements),
            "template": template,
            "token": "last token of the text",
        }


def _pairs(positive: Sequence[Statement], negative: Sequence[Statement]) -> Tensor | None:
    """Rows of positive and negative statements with the same pair number."""
    rows = {s.pair: index for index, s in enumerate(negative) if s.pair is not None}
    pairs = [[i, rows[s.pair]] for i, s in enumerate(positive) if s.pair in rows]
    return torch.tensor(pairs) if pairs else None


def _read_states(path: Path) -> Tensor | None:
    """Kept activations; None where there are none, or where the file is damaged."""
    if not path.exists():
        return None
    try:
        states: Tensor = load_file(path)["states"]
    except (SafetensorError, OSError, KeyError):
        return None
    return states


def _write_states(path: Path, states: Tensor) -> None:
    """Keep activations for the next process. A cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
        os.close(handle)
        save_file({"states": states.contiguous()}, name)
        Path(name).replace(path)
    except OSError:
        return


@dataclass(frozen=True)
class Treatment:
    """A steered model as lm-eval sees it: which steerers act on which document."""

    label: str
    """Names it in errors."""
    strength: float
    """Strength in `unit`."""
    unit: str
    """`absolute` or `relative`."""
    positions: Positions
    """Which tokens are steered."""
    fit: Callable[[int | None], Artefact]
    """Steerers fitted without a fold; called with None for documents outside the contrast."""
    fold_of: Callable[[str], int | None]
    """Fold of a question, None if the contrast does not hold it."""

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
        return Intervention(self.fit(fold).steerers, self.strength, self.unit, self.label)


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

    def fold_of(question: str) -> int | None:
        key = question_key(question)
        if contrast.n_folds == 1 and key in contrast.keys:
            raise ContrastError(
                f"contrast set {contrast.name} holds the question {question!r}, which is tested",
                "Remove the task's own questions from it: a test on them would mean nothing.",
            )
        return contrast.fold_of(key)

    label = f"{request.method} at strength {strength:g}"
    return Treatment(
        label,
        strength,
        unit,
        positions,
        lambda fold: fitter.fit(contrast, request, fold),
        fold_of,
    )


def from_artefact(folder: Path, strength: float, unit: str, positions: Positions) -> Treatment:
    """Steerers from disk; they act on every document alike."""
    artefact = load_artefact(folder)
    return Treatment(
        f"steerer {folder} at strength {strength:g}",
        strength,
        unit,
        positions,
        lambda _: artefact,
        lambda _: None,
    )
