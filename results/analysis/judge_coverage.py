"""Notes on judges: stand-ins, cells that could not be judged, and joint rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from steereval.results.analysis.leaderboard import Row
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.manifest import Task

JOINT = "true_informative"
"""The metric shown with the product of two means, as it was published."""
FACTORS = ("true", "informative")


def not_measured(tasks: Mapping[str, Task]) -> Iterator[str]:
    """A sentence for every judge of a task that is a stand-in."""
    for task in tasks.values():
        for judge in task.stand_ins:
            yield (
                f"Not measured: the judge {judge} of {task.name} is a stand-in with random weights."
            )


def not_judged(records: Mapping[str, CellRecord]) -> Iterator[str]:
    """A sentence for every judge and task of which some cells were answered and not judged."""
    failures: dict[tuple[str, str], list[str]] = {}
    for record in records.values():
        task = (record.identity or {}).get("task")
        if not isinstance(task, Mapping):  # an imported cell has the task's name alone
            continue
        for judge in task.get("judges") or ():
            if record.is_done and judge["name"] not in record.judges:
                error = record.judge_errors.get(judge["name"], "")
                failures.setdefault((judge["name"], task["name"]), []).append(error)
    for (judge, name), errors in failures.items():
        first = next(filter(None, errors), "it has not run yet.")
        cells = f"{len(errors)} cell" + ("s" if len(errors) > 1 else "")
        yield f"The judge {judge} has not judged {cells} of {name}: {first}"


def products_of_means(rows: Sequence[Row]) -> dict[tuple[str, str, str], float]:
    """{(model, task, name of a row): mean of `true` times mean of `informative`}.

    What papers call True × Info. It is not a rate of answers; the joint rate is.
    """
    parts: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        if row.metric.name in FACTORS and row.score is not None:
            key = (row.model, row.task.name, row.name)
            parts.setdefault(key, {})[row.metric.name] = row.score.mean
    return {
        key: each["true"] * each["informative"] for key, each in parts.items() if len(each) == 2
    }
