"""Activations of contrast sets: read in one pass for all that a grid needs, kept by content.

What cells will ask for is announced first (`expect`), so that the pass which the first of them
causes reads every layer and part at once. What was read is kept in the cache folder under a key of
all that decides it: every bit of the weights, the tokens that are fed and where answers begin, the
path and the kind of device, the site and the part. Workers of one run on several machines hand it
on: one of them reads.

Hashing the weights takes a core about half a second a gigabyte, once for each pass or look into the
cache folder. In memory states are kept for as long as weights and tokenisation are not replaced.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from steereval.common.errors import ContrastError
from steereval.common.files import replacing
from steereval.common.paths import cache_folder
from steereval.common.text import short_hash
from steereval.harness.engine.environment import versions
from steereval.models.inference.extraction import States, Text, Under, read_states
from steereval.models.steering.hook_points import Site
from steereval.ray_jobs.sharing import once
from steereval.tasks.contrast.registry import ContrastSet, Statement

QA_PROMPT = "Q: {question}\nA:"
QA_TEMPLATE = QA_PROMPT + " {answer}"
STORE_VERSION = "4"

_log = logging.getLogger(__name__)
_not_kept: set[Path] = set()
"""Cache folders of which it was said that they cannot be written."""

Wanted = Mapping[str, Collection[Site]]
"""Sites by part (`extraction.PARTS`)."""


class Reader(Protocol):
    """Interface of a loaded language model for fitting."""

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        ...

    @property
    def asked_for(self) -> tuple[str, str]:
        """Name and revision under which the model was asked for."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        ...

    def weights_hash(self) -> str | None:
        """Hash of every bit of the weights as they are now, and of the configuration; None where
        they are not all in memory, so that nothing can be kept for them."""
        ...

    def state(self) -> Hashable:
        """A value that changes with weights and tokenisation; cheap, valid in this process only."""
        ...

    def shares(self, length: int) -> bool:
        """Whether texts of up to `length` tokens may share what they have in common."""
        ...

    def encode(self, text: str, special_tokens: bool) -> list[int]:
        """Token ids of `text`, with BOS if the model uses one and `special_tokens` is set."""
        ...

    def chat(self, question: str, answer: str) -> str:
        """Question and unfinished answer in the model's chat template."""
        ...


@dataclass
class ActivationStore:
    """Reads and keeps the activations of one model."""

    reader: Reader
    """The loaded model."""
    passes: int = 0
    """Times that a contrast set was run through the model."""
    weights: str | None = None
    """Hash of the weights with which states were last read or found; None if they have none."""
    _expected: dict[str, dict[str, set[Site]]] = field(default_factory=dict)
    _known: dict[str, States] = field(default_factory=dict)
    _texts: dict[tuple[Statement, str], Text] = field(default_factory=dict)
    _state: Hashable = None

    def expect(self, contrast: ContrastSet, template: str, wanted: Wanted) -> None:
        """Say what will be asked for, so that one pass can read it with what comes first."""
        parts = self._expected.setdefault(contrast.content_hash + template, {})
        for part, sites in wanted.items():
            parts.setdefault(part, set()).update(sites)

    def states(self, contrast: ContrastSet, template: str, wanted: Wanted) -> States:
        """States of all statements (see `read_states`), from memory, from disk, or read now."""
        key = contrast.content_hash + template
        self.expect(contrast, template, wanted)
        self._forget_what_changed()
        known = self._known.setdefault(key, {})
        if self._missing(known, wanted):
            everything = self._expected[key]
            texts = self._encoded(contrast.statements, template)
            fed = self._key(texts)
            self._recall(fed, known, everything)
            missing = self._missing(known, everything)
            if missing:
                self._read(fed, texts, known, missing)
        return {part: {site: known[part][site] for site in s} for part, s in wanted.items()}

    def states_under(
        self, statements: Sequence[Statement], template: str, wanted: Wanted, under: Under
    ) -> States:
        """States of some statements while the model is steered; these are not kept."""
        self._forget_what_changed()
        return self._pass(self._encoded(statements, template), wanted, under)

    def text(self, statement: Statement, template: str) -> Text:
        """Tokens of a statement, and where its answer begins."""
        self._forget_what_changed()
        (text,) = self._encoded([statement], template)
        return text

    def _encoded(self, statements: Sequence[Statement], template: str) -> list[Text]:
        for statement in statements:
            if (statement, template) not in self._texts:
                self._texts[statement, template] = self._tokenised(statement, template)
        return [self._texts[statement, template] for statement in statements]

    def _tokenised(self, statement: Statement, template: str) -> Text:
        if template == "chat":
            return self._chat_text(statement)
        question, answer = statement.question, statement.answer
        if question is None:
            tokens = self.reader.encode(answer, special_tokens=True)
            extra = self._special(answer, tokens)
            return Text(tuple(tokens), extra, extra)
        full = QA_TEMPLATE.format(question=question, answer=answer)
        prompt = QA_PROMPT.format(question=question)
        tokens = self.reader.encode(full, special_tokens=True)
        start = _common(tokens, self.reader.encode(prompt, special_tokens=True))
        return Text(tuple(tokens), start, self._special(full, tokens))

    def answer_lengths(self, statements: Sequence[Statement], template: str) -> list[int]:
        """Tokens of each statement's answer: rows of the part `tokens`."""
        self._forget_what_changed()
        texts = self._encoded(statements, template)
        return [len(text.tokens) - text.start for text in texts]

    def _chat_text(self, statement: Statement) -> Text:
        if statement.question is None:
            raise ContrastError(
                "the chat template needs questions, and this contrast set has none",
                "Use `template: qa`, which takes the text as it is.",
            )
        full = self.reader.chat(statement.question, statement.answer)
        tokens = self.reader.encode(full, special_tokens=False)
        # Two answers show where the prompt ends: an empty one is refused by some templates.
        others = [self.reader.chat(statement.question, word) for word in ("0", "Z")]
        encoded = [self.reader.encode(other, special_tokens=False) for other in others]
        start = min(_common(tokens, other) for other in encoded)
        return Text(tuple(tokens), start, 0)

    def _special(self, text: str, tokens: Sequence[int]) -> int:
        """Leading tokens of `tokens` that are not of `text` itself: BOS."""
        plain = self.reader.encode(text, special_tokens=False)
        extra = len(tokens) - len(plain)
        return extra if extra > 0 and list(tokens[extra:]) == list(plain) else 0

    def _missing(self, known: States, wanted: Wanted) -> dict[str, list[Site]]:
        lacking = {
            part: sorted(s for s in sites if s not in known.get(part, {}))
            for part, sites in wanted.items()
        }
        return {part: sites for part, sites in lacking.items() if sites}

    def _forget_what_changed(self) -> None:
        """Drop what weights or a tokenisation gave that are no longer there."""
        state = self.reader.state()
        if state != self._state:
            self._state = state
            self._known.clear()
            self._texts.clear()

    def _key(self, texts: Sequence[Text]) -> str | None:
        """A name for `texts` in this model, without site and part; None if it has none."""
        self.weights = self.reader.weights_hash()
        if self.weights is None:
            return None
        path = "shared" if self._shares(texts) else "plain"
        installed = versions()
        code = [installed[package] for package in ("steereval", "torch", "transformers")]
        return _digest([self.weights, _fed(texts), path, self.reader.device.type, code])

    def _shares(self, texts: Sequence[Text]) -> bool:
        return self.reader.shares(max(len(text.tokens) for text in texts))

    def _recall(self, fed: str | None, known: States, wanted: Wanted) -> None:
        """Take from disk what is there of what is missing."""
        if fed is None:
            return
        for part, sites in self._missing(known, wanted).items():
            for group in _grouped(sites):
                stored = read_activations(_file(fed, part, group[0]))
                if all(str(site) in stored for site in group):
                    known.setdefault(part, {}).update({s: stored[str(s)] for s in group})

    def _read(
        self, fed: str | None, texts: Sequence[Text], known: States, missing: Wanted
    ) -> None:  # fmt: skip
        for part, states in self._read_once(fed, texts, missing).items():
            known.setdefault(part, {}).update(states)
            if fed is None:
                continue
            for group in _grouped(list(states)):
                path = _file(fed, part, group[0])
                write_activations(path, _by_name({site: states[site] for site in group}))

    def _read_once(self, fed: str | None, texts: Sequence[Text], missing: Wanted) -> States:
        """Read here, or have what another worker of the run has read."""
        if fed is None:
            return self._pass(texts, missing, None)
        wanted = sorted((part, sorted(map(str, sites))) for part, sites in missing.items())
        return once(
            _digest([fed, wanted]),
            lambda: self._pass(texts, missing, None),
            lambda states: {part: save(_by_name(states[part])) for part in states},
            lambda packed: _unpacked(packed, missing),
        )

    def _pass(self, texts: Sequence[Text], wanted: Wanted, under: Under | None) -> States:
        self.passes += 1
        return read_states(self.reader.model, texts, wanted, self._shares(texts), under)


def _file(fed: str, part: str, site: Site) -> Path:
    """Where states of one part and site are kept."""
    location = f"{site.layer} {'block' if site.head is None else 'heads'}"
    return cache_folder() / "activations" / f"{_digest([fed, location, part])}.safetensors"


def _fed(texts: Sequence[Text]) -> str:
    """Hash of all token ids, of the lengths, and of where answers begin."""
    digest = hashlib.sha256()
    for text in texts:
        header = (len(text.tokens), text.start, text.unsteered_prefix, *text.tokens)
        digest.update(np.array(header, dtype="<i8").tobytes())
    return digest.hexdigest()


def _digest(parts: Sequence[object]) -> str:
    return short_hash(json.dumps([*parts, STORE_VERSION]), 24)


def _by_name(states: Mapping[Site, Tensor]) -> dict[str, Tensor]:
    return {str(site): tensor.contiguous() for site, tensor in states.items()}


def _unpacked(packed: Mapping[str, bytes], wanted: Wanted) -> States:
    states = {part: load(packed[part]) for part in wanted}
    return {part: {site: states[part][str(site)] for site in s} for part, s in wanted.items()}


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of what both begin with, less than all of `one`."""
    same = 0
    while same < min(len(one) - 1, len(other)) and one[same] == other[same]:
        same += 1
    return same


def _grouped(sites: Sequence[Site]) -> list[list[Site]]:
    """Sites that share a file: a block's output, or all heads of a block."""
    groups: dict[tuple[int, bool], list[Site]] = {}
    for site in sites:
        groups.setdefault((site.layer, site.head is None), []).append(site)
    return list(groups.values())


def read_activations(path: Path) -> dict[str, Tensor]:
    """Kept activations; none where there are none, or where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            noted = (file.metadata() or {}).get("sha256")
            states = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError):
        return {}
    return states if noted == _content_of(states) else {}


def _content_of(states: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(states.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def write_activations(path: Path, states: Mapping[str, Tensor]) -> None:
    """Keep activations for the next process.

    A cache that cannot be written is not an error: this does not raise, leaves no file behind and
    prints one warning.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, is_synced=False) as temporary:
            save_file(dict(states), temporary, {"sha256": _content_of(states)})
    except (OSError, SafetensorError) as error:
        _say_not_kept(path.parent, str(error))


def _say_not_kept(folder: Path, reason: str) -> None:
    """Say once in this process that activations are not kept in `folder`."""
    if folder not in _not_kept:
        _not_kept.add(folder)
        _log.warning("activations are not kept in %s: %s", folder, reason)
