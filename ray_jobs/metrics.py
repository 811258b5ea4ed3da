"""Counters that Ray's dashboard and Prometheus show."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from steereval.ray_jobs.work import Outcome


class Metrics:
    """The counters of one run."""

    def __init__(self) -> None:
        """Register them; Ray sums up those of the same name."""
        self._ended = Counter("steereval_cells_total", "Cells that ended", ("status",))
        self._running = Gauge("steereval_workers_busy", "Workers that are doing work")
        self._seconds = Histogram(
            "steereval_cell_seconds", "Seconds of a cell", boundaries=[1, 10, 60, 600, 3600]
        )

    def ended(self, outcome: Outcome) -> None:
        """Count units that are over."""
        if not outcome.units:
            return
        status = "failed" if outcome.error else "done"
        self._ended.inc(len(outcome.units), {"status": status})
        self._seconds.observe(outcome.seconds / len(outcome.units))

    def running(self, workers: int) -> None:
        """Report the number of busy workers."""
        self._running.set(workers)
