"""Steering of a Transformers model in one's own program.

    with steering(model, {14: steerer}, strength=4.0):
        model.generate(**inputs)

The same hooks and the same positions as in an evaluation: a steerer that was evaluated steers the
same tokens here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from steereval.common.errors import CellError, InputError
from steereval.models.inference.generation import Prompts, module_that_runs, on_device
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.models.steering.hooks import Session, steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import UNITS, Steerer

_models: WeakSet[nn.Module] = WeakSet()
"""Models inside a block of `steering`."""


@contextmanager
def steering(
    model: nn.Module,
    steerers: Mapping[int, Steerer] | Mapping[Site, Steerer],
    strength: float,
    positions: str = "generated",
    unit: str = "absolute",
) -> Iterator[nn.Module]:
    """Steer a model inside the block; its hooks are removed afterwards, after errors too.

    Each forward pass on an empty cache, or without one, begins a batch of prompts, which may be
    padded on the left; passes on a filled cache continue it. Any of Transformers' ways of decoding
    may be used. BOS and padding are never steered.

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
            was filled outside the block, or a pass did not steer the tokens that it should.
    """
    intervention = _intervention(model, steerers, strength, unit)
    with steered(model, [intervention]) as session:
        follower = _Follower(session, Positions(positions), _unsteered_tokens(model))
        with _following(model, follower):
            yield model
        session.check()


def _intervention(
    model: nn.Module,
    steerers: Mapping[int, Steerer] | Mapping[Site, Steerer],
    strength: float,
    unit: str,
) -> Intervention:
    if unit not in UNITS[:2]:
        raise InputError(f"unknown unit {unit!r}", f"Use {' or '.join(UNITS[:2])}.")
    if model in _models:
        raise InputError(
            "the model is being steered already", "Give all steerers to one block of `steering`."
        )
    intervention = Intervention(_by_site(model, steerers), float(strength), unit)
    for site in intervention.steerers:
        # Raises for a steerer without strengths in this unit.
        intervention.strength_at(site)
    return intervention


@contextmanager
def _following(model: nn.Module, follower: _Follower) -> Iterator[None]:
    """Let `follower` see every pass of the model."""
    module = module_that_runs(model)
    handles = [
        module.register_forward_pre_hook(follower.before, with_kwargs=True),
        module.register_forward_hook(follower.after),
    ]
    _models.add(model)
    try:
        yield
    finally:
        _models.discard(model)
        for handle in handles:
            handle.remove()


def _by_site(
    model: nn.Module, steerers: Mapping[int, Steerer] | Mapping[Site, Steerer]
) -> dict[Site, Steerer]:
    blocks = len(find_blocks(model))
    by_site: dict[Site, Steerer] = {}
    for key, steerer in steerers.items():
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


@dataclass
class _Follower:
    """Tells the hooks, before each pass, which of its tokens are steered."""

    session: Session
    positions: Positions
    unsteered_tokens: frozenset[int]
    prompts: Prompts | None = None
    """The batch that passes continue."""
    _ids: Tensor | None = None
    """Tokens of the last pass that held whole texts."""
    _cache: Any = None
    """The cache of the last pass."""
    _columns: int = 0
    """Columns of the batch up to the end of the last pass."""
    _seen: dict[Site, int] = field(default_factory=dict)
    """Tokens that each site had steered before the pass at hand."""

    def before(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Set the context of the pass."""
        ids: Tensor | None = kwargs.get("input_ids", args[0] if args else None)
        fed: Tensor = kwargs["inputs_embeds"] if ids is None else ids
        shape = (fed.shape[0], fed.shape[1])
        cache = kwargs.get("past_key_values", kwargs.get("cache_params"))
        start = self._start(cache)
        if start == 0 and not self._continues_whole_texts(cache, ids):
            self.prompts = self._prompts(ids, shape, kwargs.get("attention_mask"))
        if self.prompts is None:
            raise CellError(
                f"a pass continues a cache of {start} tokens that was filled outside of `steering`",
                "Fill the cache inside the block.",
            )
        if start == 0:
            self._ids = ids
        self._cache, self._columns = cache, start + shape[1]
        context = self.prompts.context(shape[0], start, shape[1])
        self._seen = self._tokens_steered()
        self.session.context = on_device(context, fed.device)

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """Check that each site steered the tokens of the pass."""
        context, self.session.context = self.session.context, None
        assert context is not None
        expected = context.counts.get(0, 0)
        for site, tokens in self._tokens_steered().items():
            steered_now = tokens - self._seen[site]
            if steered_now != expected:
                raise CellError(
                    f"layer {site} steered {steered_now} tokens of a pass that has {expected} to "
                    "steer",
                    "Load the model with attn_implementation='eager'.",
                )

    def _start(self, cache: Any) -> int:
        """Column of the pass's first token."""
        if cache is None:
            return 0
        try:
            return int(cache.get_seq_length())
        except (AttributeError, ValueError):
            # A recurrent state does not count its tokens.
            return self._columns if cache is self._cache else 0

    def _continues_whole_texts(self, cache: Any, ids: Tensor | None) -> bool:
        """Whether generation without a cache runs its texts again, with one more token each."""
        last = self._ids
        if cache is not None or ids is None or last is None or self.prompts is None:
            return False
        longer = ids.shape[0] == last.shape[0] and ids.shape[1] == last.shape[1] + 1
        return longer and torch.equal(ids[:, :-1], last)

    def _prompts(self, ids: Tensor | None, shape: tuple[int, int], mask: Tensor | None) -> Prompts:
        rows, width = shape
        padding = torch.zeros(rows, dtype=torch.int64)
        if mask is not None:
            padding = _left_padding(mask, width)
        texts = [[]] * rows if ids is None else [
            row[p:] for row, p in zip(ids.tolist(), padding.tolist(), strict=True)
        ]  # fmt: skip
        return Prompts(
            padding,
            width,
            [int(bool(text) and text[0] in self.unsteered_tokens) for text in texts],
            [0] * rows,
            [self.positions] * rows,
            [" ".join(map(str, text)) for text in texts],
        )

    def _tokens_steered(self) -> dict[Site, int]:
        (intervention,) = self.session.interventions
        done = self.session.displacements
        sites = intervention.steerers if intervention.acts else ()
        return {site: done[0, site].tokens if (0, site) in done else 0 for site in sites}


def _left_padding(mask: Tensor, width: int) -> Tensor:
    """Padding in front of each row [rows] of an attention mask [rows, width]."""
    if mask.dim() != 2 or mask.shape[1] != width:
        raise CellError(
            f"an attention mask of shape {tuple(mask.shape)} does not say where texts begin",
            "Give a mask [rows, tokens] of 0 and 1.",
        )
    mask = mask.bool().cpu()
    padding = width - mask.sum(dim=1)
    if not torch.equal(mask, torch.arange(width) >= padding[:, None]):
        raise CellError(
            "a batch is not padded on the left", "Set `tokenizer.padding_side = 'left'`."
        )
    return padding
