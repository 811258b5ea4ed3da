"""Forward hooks that steer a model, as a context manager that always removes them.

Before every forward pass the caller says in a `ForwardContext` which intervention acts on each
token; the hooks then pass the tokens of each intervention to its steerers. Activations are never
edited in place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from steereval.common.errors import CellError
from steereval.models.steering.constant_shift import Addition, Bias
from steereval.models.steering.displacement_stats import DisplacementStats, distance
from steereval.models.steering.forward_context import ForwardContext
from steereval.models.steering.hook_points import Site, check_sites
from steereval.models.steering.hook_targets import HookTarget, attach, hook_targets
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.phase_clock import phase
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class Plan:
    """Steering at a target in each pass of a context; no token is under two interventions."""

    addition: Addition | None
    """The constant shifts, joined."""
    nonlinear: Sequence[tuple[int, Sequence[Site]]]
    """The other interventions, and where each acts."""


@dataclass
class Session:
    """Interventions at work inside a model, and what the hooks keep between passes."""

    interventions: Sequence[Intervention]
    """Those that a context's `assigned` refers to."""
    context: ForwardContext | None = None
    """The pass at hand; None leaves the model alone."""
    decisions: dict[tuple[int, Site], Tensor | None] = field(default_factory=dict)
    """State of each query by intervention and site, from the pass that held its prompt."""
    _displacements: dict[tuple[int, Site], DisplacementStats] = field(default_factory=dict)
    """Displacements by intervention and site, without those still held by the plans."""
    _planned: ForwardContext | None = None
    """The context that `_plans` are for: decoding steps share one."""
    _plans: dict[HookTarget, Plan] = field(default_factory=dict)
    """The plan for each target."""
    _placed: dict[tuple[int, Site, torch.device], Steerer] = field(default_factory=dict)
    """Steerers on the device of their site's activations."""
    _biases: dict[tuple[int, HookTarget], Bias | None] = field(default_factory=dict)
    """Constant shifts by intervention and target."""
    _requested: Counter[int] = field(default_factory=Counter)
    """Tokens that each intervention has to steer at each of its sites, over all finished passes."""

    @contextmanager
    def on(self, context: ForwardContext) -> Iterator[None]:
        """Use `context` for the one forward pass inside the block.

        Raises:
            CellError: As `counted`.
        """
        with self.counted(lambda: context.counts):
            self.context = context
            yield

    @contextmanager
    def counted(self, requested: Callable[[], Mapping[int, int]]) -> Iterator[None]:
        """Hold the forward passes inside the block against the tokens that they have to steer.

        A block that raises leaves the displacements as they were, so that a batch for which
        memory ran out can be computed again.

        Args:
            requested: Called at the end; the number of tokens that the passes had to steer under
                each intervention, by its index. It must not come from what the hooks saw.

        Raises:
            CellError: The steerers saw another number of tokens, or made activations that are not
                finite.
        """
        before = {key: (stats.tokens, stats.distance) for key, stats in self.displacements.items()}
        try:
            yield
        except BaseException:
            self._reset(before)
            raise
        finally:
            self.context = None
        self._requested.update(requested())
        self.check()

    def _reset(self, displacements: Mapping[tuple[int, Site], tuple[int, Tensor | float]]) -> None:
        self._planned, self._plans = None, {}
        self._displacements = {
            key: DisplacementStats(*values) for key, values in displacements.items()
        }

    @property
    def displacements(self) -> Mapping[tuple[int, Site], DisplacementStats]:
        """Displacements so far by intervention and site."""
        self._settle()
        return self._displacements

    def _settle(self) -> None:
        for plan in self._plans.values():
            if plan.addition is not None:
                plan.addition.settle()

    def check(self) -> None:
        """Check the finished passes.

        Raises:
            CellError: An intervention did not see every token that it had to steer, or made
                activations that are not finite.
        """
        self._check_counts()
        self._check_finite()

    def _check_counts(self) -> None:
        displacements = self.displacements
        for index, tokens in self._requested.items():
            for site in self._acting(index):
                seen = displacements[index, site].tokens if (index, site) in displacements else 0
                if seen != tokens:
                    raise CellError(
                        f"{self._label(index, site)} steered {seen} tokens at layer {site} where "
                        f"the requests ask for {tokens}",
                        "The model does not run its blocks as steering expects; try path=plain, or "
                        "attn_implementation=eager.",
                    )

    def _label(self, index: int, site: Site) -> str:
        intervention = self.interventions[index]
        return intervention.label or intervention.steerers[site].method

    def _check_finite(self) -> None:
        for (index, site), stats in self.displacements.items():
            if not math.isfinite(float(stats.distance)):
                raise CellError(
                    f"{self._label(index, site)} made activations that are not finite at layer "
                    f"{site}",
                    "Lower the strength, or run the model in float32.",
                )

    def steer(self, target: HookTarget, hidden: Tensor) -> Tensor:
        """Steered copy of the states [rows, length, d] of a target."""
        context = self.context
        if context is None:
            return hidden
        with phase("steering"):
            return self._steer(target, hidden, context)

    def _steer(self, target: HookTarget, hidden: Tensor, context: ForwardContext) -> Tensor:
        if context is not self._planned:
            self._settle()
            self._planned, self._plans = context, {}
        plan = self._plans.get(target) or self._plan(target, hidden, context)
        if plan.addition is not None:
            hidden = plan.addition(hidden)
        if plan.nonlinear:
            # Steerers keep their precision where the model runs in a mixed one.
            with torch.autocast(hidden.device.type, enabled=False):
                for index, sites in plan.nonlinear:
                    hidden = self._apply(target, sites, index, hidden, context)
        return hidden

    def _plan(self, target: HookTarget, hidden: Tensor, context: ForwardContext) -> Plan:
        biases: dict[int, Bias] = {}
        nonlinear: list[tuple[int, Sequence[Site]]] = []
        # Steerers that decide per query must see the prompts even where they steer nothing.
        deciding = self._deciding if context.prompt_last is not None else ()
        for index in dict.fromkeys((*context.counts, *deciding)):
            sites = [site for site in target.sites if site in self._acting(index)]
            bias = self._bias(target, sites, index, hidden) if sites else None
            if bias is not None:
                biases[index] = bias
            elif sites:
                nonlinear.append((index, sites))
        self._plans[target] = Plan(self._addition(biases, hidden, context), nonlinear)
        return self._plans[target]

    def _acting(self, index: int) -> Mapping[Site, Steerer]:
        intervention = self.interventions[index]
        return intervention.steerers if intervention.acts else {}

    @property
    def decides(self) -> bool:
        """Whether some steerer decides per query, so that queries share nothing it may change."""
        return bool(self._deciding)

    @cached_property
    def _deciding(self) -> list[int]:
        """Interventions with a steerer that decides per query."""
        indices = range(len(self.interventions))
        return [i for i in indices if any(s.per_query for s in self._acting(i).values())]

    def _addition(
        self, biases: Mapping[int, Bias], hidden: Tensor, context: ForwardContext
    ) -> Addition | None:
        """The shifts of a target, laid out for the tokens of a context."""
        if not biases:
            return None
        moved = [
            (self._stats(index, site), context.counts[index], context.counts[index] * length)
            for index, bias in biases.items()
            for site, length in bias.lengths.items()
        ]
        if len(biases) == 1 and context.everywhere(next(iter(biases))):
            (bias,) = biases.values()
            return Addition(bias.vector.to(hidden), None, moved)
        table = torch.zeros(len(biases) + 1, hidden.shape[-1])
        chosen = torch.zeros_like(context.assigned)
        for row, (index, bias) in enumerate(biases.items(), 1):
            table[row] = bias.vector
            chosen[context.assigned == index] = row
        table, chosen = table.to(hidden), chosen.to(hidden.device)
        if chosen.shape[1] == 1:
            return Addition(table[chosen], None, moved)
        return Addition(table, chosen, moved)

    def _bias(
        self, target: HookTarget, sites: Sequence[Site], index: int, hidden: Tensor
    ) -> Bias | None:
        """The vector that an intervention adds to a target, if its shifts are constant."""
        if (index, target) not in self._biases:
            steerers = {site: self.interventions[index].steerers[site] for site in sites}
            strengths = {site: self._strength(index, site) for site in sites}
            bias = Bias.joining(steerers, strengths, target, hidden.shape[-1])
            self._biases[index, target] = bias
        return self._biases[index, target]

    def _apply(
        self,
        target: HookTarget,
        sites: Sequence[Site],
        index: int,
        hidden: Tensor,
        context: ForwardContext,
    ) -> Tensor:
        if target.width is None:
            return self._move(sites[0], index, hidden, context)
        parts = list(torch.split(hidden, target.width, dim=-1))
        for site in sites:
            assert site.head is not None
            parts[site.head] = self._move(site, index, parts[site.head], context)
        return torch.cat(parts, dim=-1)

    def _move(self, site: Site, index: int, hidden: Tensor, context: ForwardContext) -> Tensor:
        """Hand the tokens of an intervention to its steerer at `site`."""
        steerer = self._steerer(site, index, hidden.device)
        state = self._state(steerer, site, index, hidden, context) if steerer.per_query else None
        if index not in context.counts:
            return hidden
        strength, stats = self._strength(index, site), self._stats(index, site)
        if context.everywhere(index):
            moved = steerer.apply(hidden, strength, state)
            stats.add(context.counts[index], distance(hidden, moved))
            return moved
        chosen = context.tokens(index, hidden.device)
        before = hidden[chosen]
        after = steerer.apply(before, strength, None if state is None else state[chosen])
        stats.add(context.counts[index], distance(before, after))
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
        return self.interventions[index].strength_at(site)

    def _stats(self, index: int, site: Site) -> DisplacementStats:
        return self._displacements.setdefault((index, site), DisplacementStats())

    def _state(
        self, steerer: Steerer, site: Site, index: int, hidden: Tensor, context: ForwardContext
    ) -> Tensor | None:
        """State [rows, length, k] of each token's query, decided now if this pass holds prompts."""
        if context.prompt_last is not None:
            rows, columns = context.prompt_last.to(hidden.device).unbind(dim=1)
            self.decisions[index, site] = steerer.begin(hidden[rows, columns], context.keys)
        decided = self.decisions.get((index, site))
        if decided is None or context.query is None:
            return None
        return decided[context.query.to(hidden.device)]


@contextmanager
def steered(model: nn.Module, interventions: Sequence[Intervention]) -> Iterator[Session]:
    """Steer `model` inside the block; the hooks are removed afterwards, after errors too.

    Raises ModelError if a site does not exist in the model.
    """
    session = Session(interventions)
    sites = sorted({site for each in interventions if each.acts for site in each.steerers})
    check_sites(model, sites)
    with ExitStack() as stack:
        for target in hook_targets(model, sites):
            stack.callback(attach(model, target, session.steer).remove)
        yield session
