"""The findings of a check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, or that could not be checked."""

    where: str
    """A cell, a file, a package."""
    what: str
    """The problem, in one line."""
    is_wrong: bool = True
    """False for what was only not checked, or is no fault of the run."""

    def __str__(self) -> str:
        """The line for the user."""
        lines = " ".join(self.what.split())
        return f"{'wrong' if self.is_wrong else 'note'}: {self.where}: {lines}"
