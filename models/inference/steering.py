"""Steering of a Transformers model in one's own program.

    with steering(model, {14: steerer}, strength=4.0):
        model.generate(**inputs)

The same hooks and the same positions as in an evaluation: a steerer that was evaluated steers the
same tokens here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from torch import nn

from steereval.common.errors import InputError
from steereval.common.validation import shown
from steereval.models.inference.follower import Follower, following
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import UNITS, Steerer

_steered: WeakSet[nn.Module] = WeakSet()
"""Lists of decoder blocks of the models inside a block of `steering`."""


@contextmanager
def steering(
    model: nn.Module,
    steerers: Mapping[int, Steerer] | Mapping[Site, Steerer],
    strength: float,
    positions: str = "generated",
    unit: str = "absolute",
) -> Iterator[nn.Module]:
    """Steer a model inside the block; its hooks are removed afterwards, after errors too.

    The prompts are what `generate` is given, however its passes are cut (beams, candidates of an
    assistant, prefill in chunks, no cache). Outside of `generate`, each forward pass on an empty
    cache, or without one, begins a batch of prompts, and passes on its cache continue it. Batches
    may be padded on the left. BOS and padding are never steered.

    Args:
        model: A causal language model of Transformers, PEFT models included.
        steerers: Steerers by 0-based block (negative: from the last), or by `Site`, such as those
            of `load_artefact(folder).steerers`.
        strength: Strength in `unit`; 0 leaves the model as it is.
        positions: Which tokens are steered: `generated` (the last prompt token and every later
            one), `all`, `prompt`, `prompt-last`, `continuation`, or a range `a:b` of prompt tokens.
        unit: `absolute` (the method's own unit), or `relative` (multiples of the median norm of
            the activations that the steerer was fitted to).

    Yields:
        The model.

    Raises:
        InputError: An argument is unknown, or the model is being steered already.
        ModelError: The model lacks a site.
        CellError: Inside the block: a batch is padded on the right, a pass continues a cache that
            was filled outside the block, a part of the model runs alone, or a pass did not steer
            the tokens that it should.
    """
    rule = Positions(positions)
    intervention = _intervention(model, steerers, strength, unit)
    with _alone(model), steered(model, [intervention]) as session:
        with following(model, Follower(session, rule, _unsteered_tokens(model))):
            yield model
        session.check()


@contextmanager
def _alone(model: nn.Module) -> Iterator[None]:
    """Refuse a model that is being steered, under this wrapper or another."""
    blocks = find_blocks(model)
    if blocks in _steered:
        raise InputError(
            "the model is being steered already", "Give all steerers to one block of `steering`."
        )
    _steered.add(blocks)
    try:
        yield
    finally:
        _steered.discard(blocks)


def _intervention(
    model: nn.Module,
    steerers: Mapping[int, Steerer] | Mapping[Site, Steerer],
    strength: float,
    unit: str,
) -> Intervention:
    if unit not in UNITS[:2]:
        raise InputError(f"unknown unit {unit!r}", f"Use {' or '.join(UNITS[:2])}.")
    intervention = Intervention(_by_site(model, steerers), _finite(strength), unit)
    for site in intervention.steerers:
        # Raises for a steerer without strengths in this unit.
        intervention.strength_at(site)
    return intervention


def _finite(strength: object) -> float:
    try:
        value = float(strength)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"the strength is {shown(strength)}", "Give a finite number.")
    return value


def _by_site(
    model: nn.Module, steerers: Mapping[int, Steerer] | Mapping[Site, Steerer]
) -> dict[Site, Steerer]:
    blocks = len(find_blocks(model))
    by_site: dict[Site, Steerer] = {}
    for key, steerer in steerers.items():
        if isinstance(key, bool) or not isinstance(key, int | Site):
            raise InputError(f"the layer is {shown(key)}", "Give a whole number or a Site.")
        if not isinstance(steerer, Steerer):
            raise InputError(
                f"layer {key} has a {type(steerer).__name__} in place of a steerer",
                "Make one with `fit_steerer` or `load_steerer`.",
            )
        site = key if isinstance(key, Site) else Site(key + blocks if key < 0 else key)
        if site in by_site:
            raise InputError(f"two steerers are given for layer {site}", "Remove one.")
        by_site[site] = steerer
    if not by_site:
        raise InputError("no steerer is given", "Give a mapping such as {14: steerer}.")
    return by_site


def _unsteered_tokens(model: nn.Module) -> frozenset[int]:
    """Ids of the token that begins a text: BOS, or what lm-eval puts in its place."""
    config: Any = model.config
    for name in ("bos_token_id", "eos_token_id"):
        ids = getattr(config.get_text_config(), name, None)
        if ids is not None:
            return frozenset(ids if isinstance(ids, list) else [ids])
    return frozenset()
