"""Forward hooks that steer, and hooks that read, as context managers that always clean up.

Before every forward pass the caller says in a `Frame` what each token is; the hooks then hand
the tokens of each intervention to its steerers. Activations are never edited in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
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
    _masks: dict[tuple[int, torch.device], Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def counts(self) -> dict[int, int]:
        """Tokens under each intervention that acts in this pass."""
        found, counts = torch.unique(self.assigned, return_counts=True)
        return {i: n for i, n in zip(found.tolist(), counts.tolist(), strict=True) if i >= 0}

    def everywhere(self, index: int) -> bool:
        """Whether intervention `index` acts on every token of the pass."""
        return self.counts.get(index) == self.assigned.numel()

    def mask(self, index: int, device: torch.device) -> Tensor:
        """Which tokens [rows, length] are under intervention `index`."""
        if (index, device) not in self._masks:
            self._masks[index, device] = (self.assigned == index).to(device)
        return self._masks[index, device]


@dataclass
class Tally:
    """How far an intervention has moved the tokens at one site, summed without waiting for it."""

    tokens: int = 0
    """Tokens steered."""
    distance: Tensor | float = 0.0
    """Sum of |y - x|; not finite if any steered activation was not."""

    def add(self, tokens: int, distance: Tensor | float) -> None:
        """Count `tokens` that were moved by `distance` in all."""
        self.tokens += tokens
        self.distance = self.distance + distance


@dataclass(frozen=True)
class Bias:
    """Constant shifts of one place as one vector, which costs a single addition."""

    vector: Tensor
    """What is added to every token [d]."""
    lengths: Mapping[Site, float]
    """How far it moves a token at each site."""

    @classmethod
    def joining(
        cls,
        steerers: Mapping[Site, Steerer],
        strengths: Mapping[Site, float],
        width: int | None,
        hidden: Tensor,
    ) -> Bias | None:
        """The shift of a block, or those of heads side by side; None if one is not constant."""
        vector = torch.zeros(hidden.shape[-1], device=hidden.device)
        lengths = {}
        for site, steerer in steerers.items():
            shift = steerer.shift(strengths[site])
            if shift is None:
                return None
            steerer.check_width(width or len(vector))
            start = 0 if width is None or site.head is None else site.head * width
            vector[start : start + len(shift)] = shift
            lengths[site] = float(shift.norm())
        return cls(vector.to(hidden.dtype), lengths)


@dataclass(frozen=True)
class Addition:
    """A vector that is added to a place, and what it adds to the tallies of its sites."""

    vector: Tensor
    """[d], or [rows, length, d] where not all tokens are steered."""
    tokens: int
    """Tokens that it moves."""
    distances: Sequence[tuple[Tally, float]]
    """How far it moves them in all, at each site."""


@dataclass
class Session:
    """Interventions at work inside a model, and what the hooks keep between passes."""

    interventions: Sequence[Intervention]
    """Those that a frame's `assigned` refers to."""
    frame: Frame | None = None
    """The pass at hand; None leaves the model alone."""
    decisions: dict[tuple[int, Site], Tensor | None] = field(default_factory=dict)
    """State of each query by intervention and site, from the pass that held its prompt."""
    tallies: dict[tuple[int, Site], Tally] = field(default_factory=dict)
    """What was done so far by intervention and site."""
    _placed: dict[tuple[int, Site, torch.device], Steerer] = field(default_factory=dict)
    """Steerers on the device of their site's activations."""
    _added_in: Frame | None = None
    """The frame that `_additions` are for: decoding steps share one."""
    _additions: dict[tuple[int, Site], Addition] = field(default_factory=dict)
    """What constant shifts add, by intervention and first site of the place."""
    _places: dict[tuple[int, Site], Sequence[Site]] = field(default_factory=dict)
    """Sites of each intervention at a place, by the first site of the place."""
    _biases: dict[tuple[int, Site, torch.dtype, torch.device], Bias | None] = field(
        default_factory=dict
    )
    """Constant shifts by intervention and first site of the place."""

    @contextmanager
    def on(self, frame: Frame) -> Iterator[None]:
        """Use `frame` for the passes inside the block, and check what they have done."""
        self.frame = frame
        try:
            yield
        finally:
            self.frame = None
        self.check()

    def check(self) -> None:
        """Raise CellError if an intervention made activations that are not finite."""
        for (index, site), tally in self.tallies.items():
            if not math.isfinite(float(tally.distance)):
                intervention = self.interventions[index]
                raise CellError(
                    f"{intervention.label or intervention.steerers[site].method} made activations "
                    f"that are not finite at layer {site}",
                    "Lower the strength, or run the model in float32.",
                )

    def steer(self, sites: Sequence[Site], width: int | None, hidden: Tensor) -> Tensor:
        """Steered copy of the states [rows, length, d] of a block, or of heads `width` wide."""
        frame = self.frame
        if frame is None:
            return hidden
        # Steerers that decide per query must see the prompts even where they steer nothing.
        looking = self._deciding if frame.prompt_last is not None else ()
        for index in dict.fromkeys((*frame.counts, *looking)) if looking else frame.counts:
            own = self._own(index, sites)
            if own:
                hidden = self._apply(own, width, index, hidden, frame)
        return hidden

    def _own(self, index: int, sites: Sequence[Site]) -> Sequence[Site]:
        """Those of the sites of a place where an intervention acts."""
        key = index, sites[0]
        if key not in self._places:
            self._places[key] = [site for site in sites if site in self._acting(index)]
        return self._places[key]

    def _acting(self, index: int) -> Mapping[Site, Steerer]:
        intervention = self.interventions[index]
        return intervention.steerers if intervention.acts else {}

    @cached_property
    def _deciding(self) -> list[int]:
        """Interventions with a steerer that decides per query."""
        indices = range(len(self.interventions))
        return [i for i in indices if any(s.per_query for s in self._acting(i).values())]

    def _apply(
        self, sites: Sequence[Site], width: int | None, index: int, hidden: Tensor, frame: Frame
    ) -> Tensor:
        bias = self._bias(sites, width, index, hidden)
        if bias is not None:
            return self._add(bias, index, hidden, frame)
        if width is None:
            return self._move(sites[0], index, hidden, frame)
        parts = list(torch.split(hidden, width, dim=-1))
        for site in sites:
            assert site.head is not None
            parts[site.head] = self._move(site, index, parts[site.head], frame)
        return torch.cat(parts, dim=-1)

    def _add(self, bias: Bias, index: int, hidden: Tensor, frame: Frame) -> Tensor:
        """Add a constant vector to the tokens of an intervention."""
        if frame is not self._added_in:
            self._added_in, self._additions = frame, {}
        key = index, next(iter(bias.lengths))
        if key not in self._additions:
            self._additions[key] = self._addition(bias, index, hidden.device, frame)
        addition = self._additions[key]
        moved = hidden + addition.vector
        # Of all dtypes float16 alone overflows on the way.
        check = 0 * _distance(hidden, moved) if hidden.dtype == torch.float16 else 0.0
        for tally, distance in addition.distances:
            tally.add(addition.tokens, distance + check)
        return moved

    def _addition(self, bias: Bias, index: int, device: torch.device, frame: Frame) -> Addition:
        vector, tokens = bias.vector, frame.counts.get(index, 0)
        if not frame.everywhere(index):
            vector = frame.mask(index, device)[..., None] * vector
        distances = [
            (self._tally(index, site), tokens * length) for site, length in bias.lengths.items()
        ]
        return Addition(vector, tokens, distances)

    def _bias(
        self, sites: Sequence[Site], width: int | None, index: int, hidden: Tensor
    ) -> Bias | None:
        """The one vector to add at a place, if all its steerers are constant shifts."""
        key = index, sites[0], hidden.dtype, hidden.device
        if key not in self._biases:
            steerers = {site: self._steerer(site, index, hidden.device) for site in sites}
            strengths = {site: self._strength(index, site) for site in sites}
            self._biases[key] = Bias.joining(steerers, strengths, width, hidden)
        return self._biases[key]

    def _move(self, site: Site, index: int, hidden: Tensor, frame: Frame) -> Tensor:
        """Hand the tokens of an intervention to its steerer at `site`."""
        steerer = self._steerer(site, index, hidden.device)
        state = self._state(steerer, site, index, hidden, frame) if steerer.per_query else None
        if index not in frame.counts:
            return hidden
        strength, tally = self._strength(index, site), self._tally(index, site)
        if frame.everywhere(index):
            moved = steerer.apply(hidden, strength, state)
            tally.add(frame.counts[index], _distance(hidden, moved))
            return moved
        chosen = frame.mask(index, hidden.device)
        before = hidden[chosen]
        after = steerer.apply(before, strength, None if state is None else state[chosen])
        tally.add(frame.counts[index], _distance(before, after))
        steered = hidden.clone()
        steered[chosen] = after
        return steered

    def _steerer(self, site: Site, index: int, device: torch.device) -> Steerer:
        """The steerer on `device`, to which it is moved once."""
        key = index, site, device
        if key not in self._placed:
            self._placed[key] = self.interventions[index].steerers[site].to(device)
        return self._placed[key]

    def _strength(self, index: int, site: Site) -> float:
        each = self.interventions[index]
        return each.steerers[site].absolute_strength(each.strength, each.unit)

    def _tally(self, index: int, site: Site) -> Tally:
        return self.tallies.setdefault((index, site), Tally())

    def _state(
        self, steerer: Steerer, site: Site, index: int, hidden: Tensor, frame: Frame
    ) -> Tensor | None:
        """State [rows, length, k] of each token's query, decided now if this pass holds prompts."""
        if frame.prompt_last is not None:
            rows, columns = frame.prompt_last.to(hidden.device).unbind(dim=1)
            self.decisions[index, site] = steerer.begin(hidden[rows, columns], frame.keys)
        decided = self.decisions.get((index, site))
        if decided is None or frame.query is None:
            return None
        return decided[frame.query.to(hidden.device)]


def _distance(before: Tensor, after: Tensor) -> Tensor:
    """Sum of |after - before| over all tokens."""
    lengths: Tensor = torch.linalg.vector_norm((after - before).float(), dim=-1)
    return lengths.sum()


@contextmanager
def steered(model: nn.Module, interventions: Sequence[Intervention]) -> Iterator[Session]:
    """Steer `model` inside the block; the hooks are gone afterwards, whatever happens.

    Raises ModelError if a site does not exist in the model.
    """
    session = Session(interventions)
    sites = sorted({site for each in interventions if each.acts for site in each.steerers})
    check_sites(model, sites)
    with ExitStack() as stack:
        for place in _places(sites):
            handle = _attach(model, place, session.steer)
            stack.callback(handle.remove)
        yield session


Change = Callable[[Sequence[Site], "int | None", Tensor], Tensor]
"""Takes the sites of one place, the width of its heads if it has heads, and its states."""


def _places(sites: Sequence[Site]) -> list[list[Site]]:
    """Sites that one hook serves: a block's output, or all heads of a block."""
    places: dict[tuple[int, bool], list[Site]] = {}
    for site in sites:
        places.setdefault((site.layer, site.head is None), []).append(site)
    return list(places.values())


def _attach(model: nn.Module, sites: Sequence[Site], change: Change) -> Any:
    """Register `change` on the states of one place; returns the handle."""
    block = block_at(model, sites[0].layer)
    if sites[0].head is None:

        def on_block(module: nn.Module, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (change(sites, None, output[0]), *output[1:])
            return change(sites, None, output)

        return block.register_forward_hook(on_block)

    projection = output_projection(block)
    width = head_width(model, projection)

    def on_projection(module: nn.Module, inputs: Any) -> Any:
        return (change(sites, width, inputs[0]), *inputs[1:])

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

    def read(place: Sequence[Site], width: int | None, hidden: Tensor) -> Tensor:
        for site in place:
            start = 0 if site.head is None else site.head * (width or 0)
            states[site] = hidden.detach()[..., start : width and start + width]
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
        for place in _places(sorted(set(sites))):
            stack.callback(_attach(model, place, read).remove)
        stack.callback(block_at(model, highest).register_forward_hook(stop).remove)
        yield run
