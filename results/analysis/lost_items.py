"""Items without a score, since the model cannot be given their requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from steereval.results.store.cell_record import CellKey, CellRecord


def lost_items(cells: Iterable[CellKey], records: Mapping[str, CellRecord]) -> Iterator[str]:
    """A sentence for each model and task with lost items.

    Whether a request can be given to a model depends on its tokens alone, so that all methods lose
    the same items.
    """
    lost: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        record = records.get(cell.cell_id)
        if record is not None and record.lost:
            lost.setdefault((cell.model, cell.task), {}).update(record.lost)
    for (model, task), reasons in lost.items():
        item, reason = next(iter(reasons.items()))
        items = "1 item has" if len(reasons) == 1 else f"{len(reasons)} items have"
        yield f"{task} ({model}): {items} no score under any method; {item}: {reason}."
