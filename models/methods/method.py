"""What every steering method is: a name, typed options and a fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from steereval.errors import InputError
from steereval.models.options import parse_options
from steereval.models.sites import Site
from steereval.models.steerer import ContrastData, Steerer


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
    """Whether the fit draws random numbers."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Parts of ContrastData needed beside the two classes: "pairs", "queries", "rewards" ..."""
    Options: ClassVar[type] = NoOptions
    """A frozen dataclass of the options, with defaults."""

    def options(self, given: dict[str, Any]) -> Any:
        """The typed options for `given`; InputError for an unknown, mistyped or bad value."""
        return parse_options(self.name, self.Options, given)

    @abstractmethod
    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """Fit one steerer for each site that the method chooses to act on."""

    def missing(self, data: ContrastData) -> None:
        """Raise InputError if `data` lacks a part that this method needs."""
        for part in sorted(self.needs):
            if getattr(data, part) is None:
                raise InputError(
                    f"method {self.name} needs {part}, which the contrast data does not hold",
                    f"Give ContrastData with {part}, or choose another method.",
                )


class SiteMethod(Method):
    """A method that treats every site alone: most of them."""

    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """Fit each site from the same seed."""
        self.missing(data)
        return {
            site: self.fit_site(data.positive[site], data.negative[site], options, seed)
            for site in data.sites
        }

    @abstractmethod
    def fit_site(self, positive: Tensor, negative: Tensor, options: Any, seed: int) -> Steerer:
        """Fit one site: positive [n+, d], negative [n-, d]."""
