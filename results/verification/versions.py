"""Versions of packages: what the manifest, the cells and this machine say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from steereval.results.verification.cells import Records
from steereval.results.verification.finding import Finding


def check_versions(
    recorded: Mapping[str, str], records: Records, others_are_wrong: bool
) -> Iterator[Finding]:
    """Whether all cells ran on the versions that the manifest names, and these are installed.

    `others_are_wrong`: whether another installed version is a fault or only worth a note.
    """
    others: Counter[tuple[str, str]] = Counter()
    for record in records.values():
        if record.is_done:
            ran_on = record.environment.versions
            others.update(
                (package, used) for package, used in ran_on.items() if used != recorded.get(package)
            )
    for (package, used), count in sorted(others.items()):
        yield Finding(
            package,
            f"{count} cells ran on {used}, and the manifest names {recorded.get(package)}",
        )
    for package, known in recorded.items():
        installed = _installed(package)
        if _public(installed) != _public(known):
            yield Finding(
                package,
                f"{installed or 'no version'} is installed, and the run was made with {known}",
                others_are_wrong,
            )


def _public(version: str | None) -> str | None:
    """A version without its local part: `2.13.0+cpu` and `2.13.0+cu130` are one release."""
    return version and version.partition("+")[0]


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
