"""Activations of contrast sets: read in one pass for all that a grid needs, kept by content.

What cells will ask for is announced first (`expect`), so that the pass which the first of them
causes reads every layer and part at once. What was read is kept in the cache folder under a key of
all that decides it: the weights, the statements, the template, the place and the part. Workers of
one run on several machines hand it on: one of them reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from steereval.cache import cache_folder
from steereval.errors import ContrastError
from steereval.models.extraction import States, Text, Under, read_states
from steereval.models.sites import Site
from steereval.ray_jobs.sharing import once
from steereval.tasks.contrast import ContrastSet, Statement

QA_PROMPT = "Q: {question}\nA:"
QA_TEMPLATE = QA_PROMPT + " {answer}"
STORE_VERSION = "3"

Wanted = Mapping[str, Collection[Site]]
"""Sites by part (`extraction.PARTS`)."""


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


@dataclass
class ActivationStore:
    """Reads and keeps the activations of one model."""

    reader: Reader
    """The loaded model."""
    passes: int = 0
    """Times that a contrast set was run through the model."""
    _expected: dict[str, dict[str, set[Site]]] = field(default_factory=dict)
    _known: dict[str, States] = field(default_factory=dict)
    _texts: dict[tuple[Statement, str], Text] = field(default_factory=dict)

    def expect(self, contrast: ContrastSet, template: str, wanted: Wanted) -> None:
        """Say what will be asked for, so that one pass can read it with what comes first."""
        parts = self._expected.setdefault(contrast.content_hash + template, {})
        for part, sites in wanted.items():
            parts.setdefault(part, set()).update(sites)

    def states(self, contrast: ContrastSet, template: str, wanted: Wanted) -> States:
        """States of all statements (see `read_states`), from memory, from disk, or read now."""
        key = contrast.content_hash + template
        self.expect(contrast, template, wanted)
        known = self._known.setdefault(key, {})
        if self._missing(known, wanted):
            everything = self._expected[key]
            self._recall(contrast, template, known, everything)
            missing = self._missing(known, everything)
            if missing:
                self._read(contrast, template, known, missing)
        return {part: {site: known[part][site] for site in s} for part, s in wanted.items()}

    def states_under(
        self, statements: Sequence[Statement], template: str, wanted: Wanted, under: Under
    ) -> States:
        """States of some statements while the model is steered; these are not kept."""
        return self._pass([self.text(s, template) for s in statements], wanted, under)

    def text(self, statement: Statement, template: str) -> Text:
        """Tokens of a statement, and where its answer begins."""
        key = statement, template
        if key not in self._texts:
            self._texts[key] = self._tokenised(statement, template)
        return self._texts[key]

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
        texts = [self.text(statement, template) for statement in statements]
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
        bare = self.reader.encode(text, special_tokens=False)
        extra = len(tokens) - len(bare)
        return extra if extra > 0 and list(tokens[extra:]) == list(bare) else 0

    def _missing(self, known: States, wanted: Wanted) -> dict[str, list[Site]]:
        lacking = {
            part: sorted(s for s in sites if s not in known.get(part, {}))
            for part, sites in wanted.items()
        }
        return {part: sites for part, sites in lacking.items() if sites}

    def _recall(
        self, contrast: ContrastSet, template: str, known: States, wanted: Wanted
    ) -> None:  # fmt: skip
        """Take from disk what is there of what is missing."""
        for part, sites in self._missing(known, wanted).items():
            for group in _grouped(sites):
                found = _read_file(self._file(contrast, template, part, group[0]))
                if all(str(site) in found for site in group):
                    known.setdefault(part, {}).update({s: found[str(s)] for s in group})

    def _read(self, contrast: ContrastSet, template: str, known: States, missing: Wanted) -> None:
        for part, states in self._read_once(contrast, template, missing).items():
            known.setdefault(part, {}).update(states)
            for group in _grouped(list(states)):
                path = self._file(contrast, template, part, group[0])
                _write_file(path, _by_name({site: states[site] for site in group}))

    def _read_once(self, contrast: ContrastSet, template: str, missing: Wanted) -> States:
        """Read here, or have what another worker of the run has read."""
        texts = [self.text(statement, template) for statement in contrast.statements]
        wanted = sorted((part, sorted(map(str, sites))) for part, sites in missing.items())
        return once(
            _digest([self.reader.fingerprint, contrast.content_hash, template, wanted]),
            lambda: self._pass(texts, missing, None),
            lambda states: {part: save(_by_name(states[part])) for part in states},
            lambda packed: _unpacked(packed, missing),
        )

    def _pass(self, texts: Sequence[Text], wanted: Wanted, under: Under | None) -> States:
        self.passes += 1
        share = self.reader.shares(max(len(text.tokens) for text in texts))
        return read_states(self.reader.model, texts, wanted, share, under)

    def _file(self, contrast: ContrastSet, template: str, part: str, site: Site) -> Path:
        place = f"{site.layer} {'block' if site.head is None else 'heads'}"
        parts = [self.reader.fingerprint, contrast.content_hash, template, place, part]
        return cache_folder() / "activations" / f"{_digest(parts)}.safetensors"


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps([*parts, STORE_VERSION]).encode()).hexdigest()[:24]


def _by_name(states: Mapping[Site, Tensor]) -> dict[str, Tensor]:
    return {str(site): tensor.contiguous() for site, tensor in states.items()}


def _unpacked(packed: Mapping[str, bytes], wanted: Wanted) -> States:
    found = {part: load(packed[part]) for part in wanted}
    return {part: {site: found[part][str(site)] for site in s} for part, s in wanted.items()}


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


def _read_file(path: Path) -> dict[str, Tensor]:
    """Kept activations; none where there are none, or where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            noted = (file.metadata() or {}).get("sha256")
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError):
        return {}
    return found if noted == _content_of(found) else {}


def _content_of(states: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(states.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _write_file(path: Path, states: Mapping[str, Tensor]) -> None:
    """Keep activations for the next process. A cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
        os.close(handle)
        save_file(dict(states), name, {"sha256": _content_of(states)})
        Path(name).replace(path)
    except OSError:
        return
