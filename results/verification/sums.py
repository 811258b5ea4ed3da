"""The files of an unpacked archive against its list of checksums."""

from __future__ import annotations

from collections.abc import Iterator

from steereval.results.store.archive import CHECKSUMS, check_sum_line
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification.finding import Finding


def check_sums(run: RunFolder) -> Iterator[Finding]:
    """Every file against the list; nothing where there is no list, as in a run that never was an
    archive."""
    computed: dict[str, str] = {}
    listed: dict[str, str] | None = None
    for name, data in run.files():
        if name == CHECKSUMS:
            lines = data.decode(errors="replace").splitlines(keepends=True)
            listed = {line.partition("  ")[2].rstrip("\n"): line for line in lines}
        else:
            computed[name] = check_sum_line(name, data)
    if listed is None:
        return
    for name, line in listed.items():
        if name not in computed:
            yield Finding(name, f"{CHECKSUMS} lists it, and it is missing")
        elif computed[name] != line:
            yield Finding(name, f"its SHA-256 is not the one in {CHECKSUMS}")
    for name in sorted(computed.keys() - listed.keys()):
        yield Finding(name, f"{CHECKSUMS} does not list it")
