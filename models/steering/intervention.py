"""Interventions on activations: steerers by site, at one strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer


@dataclass(frozen=True)
class Intervention:
    """Steerers by site, all applied at one strength."""

    steerers: Mapping[Site, Steerer]
    """One steerer a site; none for the unsteered model."""
    strength: float
    """Strength in `unit`; 0 leaves the model as it is."""
    unit: str = "absolute"
    """The methods' own unit, or `relative`: multiples of each site's median norm."""
    label: str = ""
    """Names the intervention in errors."""
    matched: Mapping[Site, float] | None = None
    """Absolute strength at each site, for the unit `displacement`."""

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return bool(self.steerers) and self.strength != 0

    def strength_at(self, site: Site) -> float:
        """The strength at `site` in the method's own unit."""
        if self.matched is not None:
            return self.matched[site]
        return self.steerers[site].absolute_strength(self.strength, self.unit)
