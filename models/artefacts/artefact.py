"""A fitted steerer on disk: a folder with `steerer.safetensors` and `steerer.json`.

Nothing is unpickled. The folder appears whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from steereval.common.errors import ArtefactError, InputError, StoreError
from steereval.common.reading import parse_json
from steereval.common.text import first_line
from steereval.models.methods.method import Method
from steereval.models.methods.registry import steerer_kinds
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import STORED_NAMES, Steerer

FORMAT_VERSION = 2
TENSORS, CARD = "steerer.safetensors", "steerer.json"
WIDEST = 1 << 20
"""Width of activations, at most."""
WAITS = (0.01, 0.1)
"""Seconds before a steerer that cannot be read is read again."""


@dataclass(frozen=True)
class Artefact:
    """Fitted steerers by site, and the card that says where they come from."""

    steerers: Mapping[Site, Steerer]
    """One steerer a site."""
    card: Mapping[str, Any]
    """Method, options, model, contrast, counts, template, seed: any values of JSON."""


QUESTIONS = "questions"
"""Entry of a card: keys of the questions that the steerers were fitted to."""


def with_questions(artefact: Artefact, keys: Sequence[str]) -> Artefact:
    """The artefact with the keys of its questions in its card, so that it is not tested on them."""
    return Artefact(artefact.steerers, {**artefact.card, QUESTIONS: sorted(keys)})


def save_artefact(artefact: Artefact, folder: Path) -> None:
    """Write `artefact` to `folder`; a steerer that is there already is replaced whole.

    Raises StoreError if `folder` cannot be written or holds anything else.
    """
    blob = save_tensors(_named_tensors(artefact.steerers))
    card = {
        **artefact.card,
        "format_version": FORMAT_VERSION,
        "sites": {
            str(site): {"kind": steerer.method, **steerer.settings()}
            for site, steerer in artefact.steerers.items()
        },
    }
    card["sha256"] = card_digest(card, blob)
    _refuse_other_content(folder)
    staging = folder.parent / f".tmp-{uuid4().hex}"
    try:
        staging.mkdir(parents=True)
        write_durably(staging / TENSORS, blob)
        write_durably(staging / CARD, json.dumps(card, indent=2, sort_keys=True).encode())
        _replace_folder(staging, folder)
    except OSError as error:
        raise StoreError(
            f"the steerer cannot be written to {folder}: {error.strerror or error}",
            "Choose a folder that can be written and has room.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_other_content(folder: Path) -> None:
    """Raise StoreError for a folder that is not a steerer, which must not be deleted."""
    if not folder.exists() or (folder / CARD).exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise StoreError(
            f"{folder} exists and is not a steerer folder", "Choose a folder that is new or empty."
        )


def card_digest(card: Mapping[str, Any], blob: bytes) -> str:
    """A hash of the tensors and of all that the card says, without its own hash."""
    content = {name: value for name, value in card.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode() + blob).hexdigest()


def content_hash(steerers: Mapping[Site, Steerer]) -> str:
    """SHA-256 of all settings and tensors of fitted steerers, to the last bit."""
    digest = hashlib.sha256()
    for site, steerer in sorted(steerers.items(), key=lambda pair: str(pair[0])):
        kind = {"site": str(site), "kind": steerer.method, **steerer.settings()}
        digest.update(json.dumps(kind, sort_keys=True).encode())
        for name, tensor in sorted(steerer.tensors().items()):
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_artefact(folder: Path, method: Method | None = None) -> Artefact:
    """Read what `save_artefact` wrote. Raises ArtefactError for anything else.

    `method`: one that is not registered, whose steerers the folder may hold as well.
    """
    card, blob = _read_both(folder)
    try:
        tensors = load_tensors(blob)
        kinds = steerer_kinds()
        if method is not None:
            kinds |= {kind.method: kind for kind in method.kinds}
        artefact = Artefact(_restore(card["sites"], tensors, kinds), card)
        for site, steerer in artefact.steerers.items():
            _check_usable(site, steerer)
    except _DAMAGE as error:
        raise _damaged(folder, first_line(error)) from error
    return artefact


_DAMAGE = (
    SafetensorError, KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError,
    OverflowError, AssertionError, InputError,
)  # fmt: skip
"""Exceptions of tensors and settings that do not fit together."""


def _check_usable(site: Site, steerer: Steerer) -> None:
    """Raise ValueError for a steerer with NaN in its tensors, or shapes that do not fit."""
    for name, tensor in steerer.tensors().items():
        # Bounds may be infinite.
        if bool(torch.isnan(tensor).any()):
            raise ValueError(f"tensor {name} of site {site} holds NaN")
    if not isinstance(steerer.dimension, int) or not 0 < steerer.dimension <= WIDEST:
        raise ValueError(f"the dimension of site {site} is {steerer.dimension!r}")
    x = torch.zeros(1, steerer.dimension)
    state = steerer.begin(x, ["x"]) if steerer.per_query else None
    moved = steerer.apply(x, 0.5, state)
    if moved.shape != x.shape:
        raise ValueError(f"the tensors of site {site} have shapes that do not fit together")


def load_steerer(folder: str | Path) -> Steerer:
    """The steerer in an artefact of one site. Raises ArtefactError."""
    steerers = load_artefact(Path(folder)).steerers
    if len(steerers) != 1:
        raise ArtefactError(
            f"{folder} holds steerers for {len(steerers)} sites",
            "Load it with steereval.models.artefacts.artefact.load_artefact.",
        )
    return next(iter(steerers.values()))


def _named_tensors(steerers: Mapping[Site, Steerer]) -> dict[str, Tensor]:
    return {
        f"{site}:{name}": tensor.detach().cpu().contiguous()
        for site, steerer in steerers.items()
        for name, tensor in steerer.tensors().items()
    }


def _restore(
    sites: Mapping[str, Any], tensors: Mapping[str, Tensor], kinds: Mapping[str, type[Steerer]]
) -> dict[Site, Steerer]:
    steerers: dict[Site, Steerer] = {}
    for text, settings in sites.items():
        site_tensors = {
            k.partition(":")[2]: v for k, v in tensors.items() if k.partition(":")[0] == text
        }
        steerers[Site.parse(text)] = _build(kinds, settings, site_tensors)
    return steerers


def _build(
    kinds: Mapping[str, type[Steerer]], settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Steerer:
    """A steerer from what `Steerer.settings` and `Steerer.tensors` gave."""
    names = {stored: name for name, stored in STORED_NAMES.items()}
    values = {names.get(name, name): value for name, value in settings.items() if name != "kind"}
    nested: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        field, dot, inner = name.partition(".")
        if dot:
            nested.setdefault(field, {})[inner] = tensor
        else:
            values[name] = tensor
    for field, parts in nested.items():
        if isinstance(values.get(field), dict):
            values[field] = _build(kinds, values[field], parts)
        else:
            values[field] = tuple(parts[str(index)] for index in range(len(parts)))
    return kinds[settings["kind"]](**values)


def _read_both(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Card and tensors of one and the same steerer; ArtefactError if they are damaged."""
    for wait in (*WAITS, None):
        try:
            card = _read_card(folder)
            blob = _read_bytes(folder / TENSORS)
            if card_digest(card, blob) == card.get("sha256"):
                return card, blob
            error = _damaged(folder, "its hash is not the one in steerer.json")
        except ArtefactError as damage:
            error = damage
        if wait is None:
            break
        # Another process may be putting a new steerer in the place of this one.
        time.sleep(wait)
    raise error


def _read_card(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ArtefactError(
            f"there is no steerer folder {folder}", "Make one with `steereval fit ... --out`."
        )
    try:
        card = parse_json(_read_bytes(folder / CARD))
    except ValueError as error:
        raise _damaged(folder / CARD, str(error)) from error
    version = card.get("format_version") if isinstance(card, dict) else None
    if version != FORMAT_VERSION:
        raise ArtefactError(
            f"{folder / CARD} has format version {version!r}; this program reads {FORMAT_VERSION}",
            "Fit the steerer again, or use the version of steereval that wrote it.",
        )
    return dict(card)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error


def _damaged(path: Path, why: str) -> ArtefactError:
    return ArtefactError(f"the steerer {path} cannot be read: {why}", "Fit it again.")


def write_durably(path: Path, data: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace_folder(staging: Path, folder: Path) -> None:
    """Put `staging` in the place of `folder`, whichever other process does the same: of several
    the last one stays. Where it cannot take the place, `folder` stays what it was."""
    replaced: list[Path] = []
    try:
        while True:
            try:
                staging.rename(folder)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            old = folder.parent / f".tmp-{uuid4().hex}"
            with suppress(FileNotFoundError):
                folder.rename(old)
                replaced.append(old)
    except OSError:
        if replaced:
            with suppress(OSError):
                replaced.pop().rename(folder)
        raise
    finally:
        for each in replaced:
            shutil.rmtree(each, ignore_errors=True)
