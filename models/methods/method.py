"""Interface of steering methods: a name, typed options and a fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from steereval.common.errors import InputError
from steereval.models.fitting.contrast_data import ContrastData, SiteData
from steereval.models.methods.options import parse_options
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer

BARRIER = "barrier"
"""Trait: it has a scalar function h of the activation and moves along the gradient of h."""
FLOW = "flow"
"""Trait: it integrates a vector field, in one step or several."""
CONSTANT = "constant"
"""Trait: it moves every activation by the same vector."""


@dataclass(frozen=True)
class NoOptions:
    """For methods that have nothing to choose."""


class Method(ABC):
    """A way to fit steerers. Subclasses are stateless; all choices come with the options."""

    name: ClassVar[str]
    """Name in grid files, model arguments and artefacts."""
    summary: ClassVar[str]
    """One line for `steereval methods`."""
    seeded: ClassVar[bool] = False
    """Whether the fit draws random numbers, unless `draws` says otherwise."""
    reads: ClassVar[str] = "block"
    """Where it reads and acts in each layer: at the "block" output, or at its attention "heads"."""
    fits: ClassVar[bool] = True
    """Whether it is fitted to a contrast; False for directions that come from elsewhere."""
    budget: ClassVar[tuple[str, ...]] = ()
    """Options that limit training; a report marks values below their defaults."""
    has: ClassVar[frozenset[str]] = frozenset()
    """Traits that hold for all options; see `traits`."""
    kinds: ClassVar[tuple[type[Steerer], ...]] = ()
    """Classes of the steerers that it yields, for loading them from disk."""
    Options: ClassVar[type] = NoOptions
    """A frozen dataclass of the options, with defaults."""

    def options(self, given: Mapping[str, Any]) -> Any:
        """The typed options for `given`; InputError for an unknown, mistyped or bad value."""
        return parse_options(self.name, self.Options, given)

    def traits(self, options: Any) -> frozenset[str]:
        """Traits with these options: of BARRIER, FLOW and CONSTANT those that hold.

        They decide which questions a report asks about the method.
        """
        return self.has

    def draws(self, options: Any) -> bool:
        """Whether a fit with these options draws random numbers."""
        return self.seeded

    def has_relative_strengths(self, options: Any) -> bool:
        """Whether a strength can be given in median norms of the fitted activations."""
        base = Steerer.strength_of_one_norm
        return self.fits and all(kind.strength_of_one_norm is not base for kind in self.kinds)

    def needs(self, options: Any) -> frozenset[str]:
        """Parts of ContrastData needed besides the two classes: "pairs", "queries" ..."""
        return frozenset()

    def reward(self, options: Any) -> str:
        """Source of the answers' rewards, for methods that need "rewards"."""
        return "label"

    def files(self, options: Any) -> tuple[Path, ...]:
        """Files that the options name: their content is part of a cell's identity."""
        return ()

    def fits_upwards(self, options: Any) -> bool:
        """Whether each layer can be fitted to states already steered at the layers below it."""
        return False

    @abstractmethod
    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """Fit one steerer for each site that the method chooses to act on."""

    def from_file(self, sites: Sequence[Site], options: Any) -> dict[Site, Steerer]:
        """Steerers at `sites`, for methods that are fitted to nothing (`fits` is False)."""
        raise InputError(
            f"method {self.name} is fitted to a contrast", "Name one, such as truthful-mini."
        )

    def check_incremental(self, options: Any) -> None:
        """Raise InputError unless this method can be fitted layer by layer."""
        if not self.fits_upwards(options):
            raise InputError(
                f"method {self.name} cannot be fitted layer by layer",
                "Leave out `incremental`: it is for methods that look at each layer alone.",
            )

    def check(self, data: ContrastData, options: Any) -> None:
        """Raise InputError if `data` lacks a part that this method needs."""
        for part in sorted(self.needs(options)):
            if getattr(data, part) is None:
                raise InputError(
                    f"method {self.name} needs {part}, which the contrast data does not hold",
                    _REMEDIES[part],
                )

    def reduced(self, given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Training options below their defaults: {name: (value, default)}."""
        if not self.budget:
            return {}
        options, usual = self.options(given), self.Options()
        pairs = {name: (getattr(options, name), getattr(usual, name)) for name in self.budget}
        return {name: (value, full) for name, (value, full) in pairs.items() if value < full}


_REMEDIES = {
    "pairs": "Give as many positive as negative activations, row by row in pairs, or a contrast "
    "set whose statements have pairs.",
    "queries": "Use a contrast set whose statements answer questions.",
    "positive_means": "Give the mean state of each answer's tokens.",
    "negative_means": "Give the mean state of each answer's tokens.",
    "trajectories": "Give the states of each answer's tokens.",
    "rewards": "Give a reward for each answer.",
}


class SiteMethod(Method):
    """A method that treats every site alone: most of them."""

    def fits_upwards(self, options: Any) -> bool:
        """If it looks at nothing but last states, which can be read again on a steered model."""
        return self.needs(options) <= {"pairs"}

    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """Fit each site from the same seed."""
        self.check(data, options)
        return {site: self.fit_site(data.at(site), options, seed) for site in data.sites}

    @abstractmethod
    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Fit one site."""


def layer_sites(method: Method, layers: Sequence[int], heads: int) -> tuple[Site, ...]:
    """The sites that `method` reads in blocks `layers` of a model with so many heads each."""
    if method.reads == "heads":
        return tuple(Site(layer, head) for layer in layers for head in range(heads))
    return tuple(Site(layer) for layer in layers)
