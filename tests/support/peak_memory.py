"""How much memory each worker of the tests took, and after which files it had grown.

A fixture or a cache that keeps a model for the session shows here and nowhere else.
"""

from __future__ import annotations

import resource
import sys
from collections import defaultdict
from typing import Any

import psutil
import pytest

SHOWN = 8
MEGABYTE = 2**20
_process = psutil.Process()


def _resident() -> float:
    """Megabytes that this process holds now."""
    return float(_process.memory_info().rss) / MEGABYTE


def _peak() -> float:
    """Megabytes that this process held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    item.user_properties.append(("megabytes before", _resident()))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    if call.when == "teardown":
        item.user_properties += [("megabytes after", _resident()), ("peak", _peak())]
    return (yield)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The peak of each worker, and the files whose tests left most behind."""
    peaks: dict[str, float] = defaultdict(float)
    growth: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "teardown":
                continue
            values = dict(report.user_properties)
            worker = getattr(getattr(report, "node", None), "gateway", None)
            name = worker.id if worker else "this process"
            peaks[name] = max(peaks[name], values["peak"])
            file = report.nodeid.partition("::")[0]
            growth[file] += values["megabytes after"] - values["megabytes before"]
    if not peaks:
        return
    terminalreporter.section("memory", sep="=")
    for name, peak in sorted(peaks.items()):
        terminalreporter.write_line(f"{name}: {peak:,.0f} MB at most")
    for file, grown in sorted(growth.items(), key=lambda pair: -pair[1])[:SHOWN]:
        if grown > 50:
            terminalreporter.write_line(f"{grown:+,.0f} MB  {file}")
