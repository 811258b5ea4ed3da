"""Passes of a user's own program, followed: which tokens of each are steered.

`generate` says what its prompts are, and its passes are placed by the columns that they hold.
Other passes are placed by their cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from steereval.common.errors import CellError
from steereval.models.inference.generation import Prompts, module_that_runs, on_device
from steereval.models.steering.hook_points import Site, block_at
from steereval.models.steering.hooks import Session
from steereval.models.steering.positions import Positions


@dataclass
class _Batch:
    """A batch of prompts, and how much of it and of its continuations has been computed."""

    prompts: Prompts
    columns: int
    """Columns up to the end of the last pass."""


@dataclass
class _Generation:
    """A call of `generate` at work."""

    ids: Tensor | None
    """The prompts [rows, width]; None for embeddings."""
    width: int | None
    """Columns of the prompts; None where `generate` makes them up."""
    mask: Tensor | None
    """Attention mask [rows, width] that was given."""
    has_begun: bool = False
    cache: Any = None
    """The cache of its passes."""

    @classmethod
    def of(cls, args: Any, kwargs: dict[str, Any]) -> _Generation:
        """From the arguments of the call."""
        ids = args[0] if args else kwargs.get("inputs")
        ids = kwargs.get("input_ids") if ids is None else ids
        embeddings = kwargs.get("inputs_embeds")
        fed = ids if embeddings is None else embeddings
        ids = None if ids is not fed else ids
        return cls(ids, None if fed is None else fed.shape[1], kwargs.get("attention_mask"))

    def mask_of(self, mask: Tensor | None) -> Tensor | None:
        """The mask of the prompts, or of as much of them as a pass with `mask` shows."""
        given = mask if self.mask is None else self.mask
        return given if given is None or given.dim() != 2 else given[:, : self.width]


@dataclass
class Follower:
    """Tells the hooks, before each pass, which of its tokens are steered."""

    session: Session
    """Holds one intervention."""
    positions: Positions
    unsteered_tokens: frozenset[int]
    """Tokens at the start of a text that are never steered."""
    _generation: _Generation | None = None
    _batches: WeakKeyDictionary[Any, _Batch] = field(default_factory=WeakKeyDictionary)
    """Batches by their cache."""
    _batch: _Batch | None = None
    """The batch of the pass at hand."""
    _seen: dict[Site, int] = field(default_factory=dict)
    """Tokens that each site had steered before the pass at hand."""

    def generating(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """`generate`, whose passes belong to the prompts that it is given."""

        @wraps(generate)
        def followed(*args: Any, **kwargs: Any) -> Any:
            before, self._generation = self._generation, _Generation.of(args, kwargs)
            try:
                return generate(*args, **kwargs)
            finally:
                self._generation = before

        return followed

    def before(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Set the context of the pass."""
        ids: Tensor | None = kwargs.get("input_ids", args[0] if args else None)
        fed: Tensor = kwargs["inputs_embeds"] if ids is None else ids
        rows, length = fed.shape[0], fed.shape[1]
        cache = kwargs.get("past_key_values", kwargs.get("cache_params"))
        start = self._start(cache)
        mask = kwargs.get("attention_mask")
        if self._generation is None:
            batch = self._own_batch(cache, start, ids, (rows, length), mask)
        else:
            batch = self._generated_batch(self._generation, cache, start, ids, fed, mask)
        batch.columns = start + length
        self._batch = batch
        self._keep(cache)
        context = batch.prompts.context(rows, start, length)
        self._seen = self._tokens_steered()
        self.session.context = on_device(context, fed.device)

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """Check that each site steered the tokens of the pass."""
        context, self.session.context = self.session.context, None
        assert context is not None
        assert self._batch is not None
        cache = _cache_of(output)
        self._keep(cache)
        if self._generation is not None and cache is not None:
            self._generation.cache = cache
        expected = context.counts.get(0, 0)
        for site, tokens in self._tokens_steered().items():
            steered_now = tokens - self._seen[site]
            if steered_now != expected:
                raise CellError(
                    f"layer {site} steered {steered_now} tokens of a pass that has {expected} to "
                    "steer",
                    "Load the model with attn_implementation='eager'.",
                )

    def check_inside(self, block: nn.Module, args: Any) -> None:
        """Raise CellError where a block runs outside of a pass, so that nothing steers it."""
        if self.session.context is None:
            raise CellError(
                "a part of the model runs without the model around it, which steering does not "
                "follow",
                "Call the model that was given to `steering`, or its `generate`.",
            )

    def _keep(self, cache: Any) -> None:
        """Remember the batch of the pass at hand by its cache; tuples of old models are skipped."""
        if cache is not None and self._batch is not None:
            with suppress(TypeError):
                self._batches[cache] = self._batch

    def _start(self, cache: Any) -> int:
        """Column of the pass's first token."""
        if cache is None:
            return 0
        try:
            return int(cache.get_seq_length())
        except (AttributeError, ValueError):
            # A recurrent state does not count its tokens.
            return self._batches[cache].columns if cache in self._batches else 0

    def _own_batch(
        self, cache: Any, start: int, ids: Tensor | None, shape: tuple[int, int], mask: Any
    ) -> _Batch:
        """The batch of a pass outside of `generate`."""
        if start == 0:
            if mask is not None and mask.shape[1:] != shape[1:]:
                raise _unreadable(mask)
            return _Batch(self._prompts(ids, shape, mask), 0)
        if cache not in self._batches:
            raise _unknown_cache(start)
        return self._batches[cache]

    def _generated_batch(
        self, generation: _Generation, cache: Any, start: int, ids: Any, fed: Tensor, mask: Any
    ) -> _Batch:
        """The batch of a pass of `generate`; its prompts come in one pass or in several."""
        is_first, generation.has_begun = not generation.has_begun, True
        if not is_first and cache is not generation.cache:
            raise CellError(
                "generation runs the model on two texts in turn, which steering does not follow",
                "Leave out guidance_scale and other options that add passes.",
            )
        generation.cache = cache
        if generation.width is None:
            generation.ids, generation.width = ids, start + fed.shape[1]
        if self._batch is not None and not is_first and start >= generation.width:
            return self._batch
        prompts = self._prompts(
            _repeated(generation.ids, fed.shape[0]),
            (fed.shape[0], generation.width),
            _repeated(generation.mask_of(mask), fed.shape[0]),
        )
        if is_first and start and cache not in self._batches:
            first, _ = prompts.bounds()
            if bool((first < start).any()):
                raise _unknown_cache(start)
        return _Batch(prompts, 0)

    def _prompts(self, ids: Tensor | None, shape: tuple[int, int], mask: Tensor | None) -> Prompts:
        rows, width = shape
        padding = torch.zeros(rows, dtype=torch.int64)
        if mask is not None:
            padding = _left_padding(mask)
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


@contextmanager
def following(model: nn.Module, follower: Follower) -> Iterator[None]:
    """Let `follower` see every pass of the model."""
    module = module_that_runs(model)
    (intervention,) = follower.session.interventions
    lowest = min(site.layer for site in intervention.steerers)
    handles = [
        module.register_forward_pre_hook(follower.before, with_kwargs=True),
        module.register_forward_hook(follower.after),
        block_at(model, lowest).register_forward_pre_hook(follower.check_inside),
    ]
    attributes = vars(module)
    replaced = {name: attributes[name] for name in ("generate",) if name in attributes}
    if hasattr(module, "generate"):
        attributes["generate"] = follower.generating(module.generate)  # type: ignore[arg-type]
    try:
        yield
    finally:
        attributes.pop("generate", None)
        attributes.update(replaced)
        for handle in handles:
            handle.remove()


def _cache_of(output: Any) -> Any:
    """The cache among the outputs of a model; None without one."""
    named = (getattr(output, name, None) for name in ("past_key_values", "cache_params"))
    listed = (value for value in output if hasattr(value, "get_seq_length")) if isinstance(
        output, tuple
    ) else ()  # fmt: skip
    return next((value for value in (*named, *listed) if value is not None), None)


def _unknown_cache(start: int) -> CellError:
    return CellError(
        f"a pass continues a cache of {start} tokens that was filled outside of `steering`",
        "Fill the cache inside the block.",
    )


def _repeated(values: Tensor | None, rows: int) -> Tensor | None:
    """`values` [n, ...] with each row repeated in place, as beams are: `rows` in all."""
    if values is None or values.shape[0] == rows:
        return values
    return values.repeat_interleave(rows // values.shape[0], dim=0)


def _left_padding(mask: Tensor) -> Tensor:
    """Padding in front of each row [rows] of an attention mask [rows, columns]."""
    if mask.dim() != 2:
        raise _unreadable(mask)
    mask = mask.bool().cpu()
    padding = mask.shape[1] - mask.sum(dim=1)
    if not torch.equal(mask, torch.arange(mask.shape[1]) >= padding[:, None]):
        raise CellError(
            "a batch is not padded on the left", "Set `tokenizer.padding_side = 'left'`."
        )
    return padding


def _unreadable(mask: Tensor) -> CellError:
    return CellError(
        f"an attention mask of shape {tuple(mask.shape)} does not say where texts begin",
        "Give a mask [rows, tokens] of 0 and 1.",
    )
