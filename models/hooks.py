"""Forward hooks that steer, and hooks that read, as context managers that always clean up.

Before every forward pass the caller says in a `Frame` what each token is; the hooks then hand
the tokens of each intervention to its steerers. Activations are never edited in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steereval.errors import CellError
from steereval.models.sites import Site, block_at, check_sites, head_width, output_projection
from steereval.models.steerer import Steerer


@dataclass(frozen=True)
class Intervention:
    """Steerers by site, all applied at one strength."""

    steerers: Mapping[Site, Steerer]
    """One steerer a site; none for the unsteered model."""
    strength: float
    """Strength in `unit`; 0 leaves the model as it is."""
    unit: str = "absolute"
    """The methods' own unit, or `relative`: multiples of each site's typical norm."""
    label: str = ""
    """Names the intervention in errors."""

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return bool(self.steerers) and self.strength != 0


@dataclass(frozen=True)
class Frame:
    """What the hooks must know of one forward pass over tokens [rows, length]."""

    assigned: Tensor
    """Index of the intervention that acts on each token, -1 for none; int64 [rows, length]."""
    query: Tensor | None = None
    """Index of each token's query, int64 [rows, length]; needed by per-query steerers."""
    prompt_last: Tensor | None = None
    """Row and column [queries, 2] of each query's last prompt token, where in this pass."""
    keys: Sequence[str] = ()
    """Name of each query in `prompt_last`."""


@dataclass
class Session:
    """Interventions at work inside a model, and what the hooks keep between passes."""

    interventions: Sequence[Intervention]
    """Those that a frame's `assigned` refers to."""
    frame: Frame | None = None
    """The pass at hand; None leaves the model alone."""
    decisions: dict[tuple[int, Site], Tensor | None] = field(default_factory=dict)
    """State of each query by intervention and site, from the pass that held its prompt."""
    _placed: dict[tuple[int, Site], Steerer] = field(default_factory=dict)
    """Steerers on the device of their site's activations."""

    @contextmanager
    def on(self, frame: Frame) -> Iterator[None]:
        """Use `frame` for the passes inside the block."""
        self.frame = frame
        try:
            yield
        finally:
            self.frame = None

    def steer(self, site: Site, hidden: Tensor) -> Tensor:
        """Steered copy of the states [rows, length, d] at `site`."""
        frame = self.frame
        if frame is None:
            return hidden
        for index, intervention in enumerate(self.interventions):
            if intervention.acts and site in intervention.steerers:
                hidden = self._apply(site, index, hidden, frame)
        return hidden

    def _apply(self, site: Site, index: int, hidden: Tensor, frame: Frame) -> Tensor:
        intervention = self.interventions[index]
        steerer = self._steerer(site, index, hidden.device)
        chosen = (frame.assigned == index).to(hidden.device)
        state = self._state(site, index, hidden, frame, chosen) if steerer.per_query else None
        if not bool(chosen.any()):
            return hidden
        strength = steerer.absolute_strength(intervention.strength, intervention.unit)
        moved = steerer.apply(hidden[chosen], strength, state)
        if not bool(torch.isfinite(moved).all()):
            raise CellError(
                f"{intervention.label or steerer.method} made activations that are not finite "
                f"at layer {site}",
                "Lower the strength, or run the model in float32.",
            )
        steered = hidden.clone()
        steered[chosen] = moved
        return steered

    def _steerer(self, site: Site, index: int, device: torch.device) -> Steerer:
        """The steerer on `device`, to which it is moved once."""
        if (index, site) not in self._placed:
            self._placed[index, site] = self.interventions[index].steerers[site]
        placed = self._placed[index, site] = self._placed[index, site].to(device)
        return placed

    def _state(
        self, site: Site, index: int, hidden: Tensor, frame: Frame, chosen: Tensor
    ) -> Tensor | None:
        """State of the query of each chosen token, decided now if this pass holds the prompts."""
        if frame.prompt_last is not None:
            rows, columns = frame.prompt_last.to(hidden.device).unbind(dim=1)
            steerer = self._placed[index, site]
            self.decisions[index, site] = steerer.begin(hidden[rows, columns], frame.keys)
        decided = self.decisions.get((index, site))
        if decided is None or frame.query is None:
            return None
        return decided[frame.query.to(hidden.device)[chosen]]


@contextmanager
def steered(model: nn.Module, interventions: Sequence[Intervention]) -> Iterator[Session]:
    """Steer `model` inside the block; the hooks are gone afterwards, whatever happens.

    Raises ModelError if a site does not exist in the model.
    """
    session = Session(interventions)
    sites = sorted({site for each in interventions if each.acts for site in each.steerers})
    check_sites(model, sites)
    with ExitStack() as stack:
        for site in sites:
            handle = _attach(model, site, session.steer)
            stack.callback(handle.remove)
        yield session


def _attach(model: nn.Module, site: Site, change: Callable[[Site, Tensor], Tensor]) -> Any:
    """Register `change` on the states at `site`; returns the handle."""
    block = block_at(model, site.layer)
    if site.head is None:

        def on_block(module: nn.Module, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (change(site, output[0]), *output[1:])
            return change(site, output)

        return block.register_forward_hook(on_block)

    projection = output_projection(block)
    width = head_width(model, projection)
    start = site.head * width

    def on_projection(module: nn.Module, inputs: Any) -> Any:
        heads = inputs[0]
        moved = change(site, heads[..., start : start + width])
        joined = torch.cat([heads[..., :start], moved, heads[..., start + width :]], dim=-1)
        return (joined, *inputs[1:])

    return projection.register_forward_pre_hook(on_projection)


class _Enough(Exception):
    """All sites were read, so the rest of the forward pass is not needed."""


@contextmanager
def reading(model: nn.Module, sites: Sequence[Site]) -> Iterator[Callable[..., dict[Site, Tensor]]]:
    """A function that runs the model and returns the states [rows, length, d] at `sites`.

    The pass stops after the highest site.
    """
    check_sites(model, sites)
    states: dict[Site, Tensor] = {}
    highest = max(site.layer for site in sites)

    def read(site: Site, hidden: Tensor) -> Tensor:
        states[site] = hidden.detach()
        return hidden

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        raise _Enough

    def run(**inputs: Any) -> dict[Site, Tensor]:
        states.clear()
        try:
            with torch.no_grad():
                model(**inputs)
        except _Enough:
            pass
        return dict(states)

    with ExitStack() as stack:
        for site in sites:
            stack.callback(_attach(model, site, read).remove)
        stack.callback(block_at(model, highest).register_forward_hook(stop).remove)
        yield run
