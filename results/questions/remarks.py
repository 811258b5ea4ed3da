"""What a reader must know of the diagnoses as a whole: what was measured on, and what was not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steereval.results.store.diagnosis import Diagnosis


def remarks(diagnoses: Mapping[str, Diagnosis]) -> tuple[str, ...]:
    """Sentences from the records; the same one once."""
    texts = (text for diagnosis in diagnoses.values() for text in _of(diagnosis.record))
    return tuple(dict.fromkeys(texts))


def _of(record: Mapping[str, Any]) -> Iterator[str]:
    where = ", ".join(
        str(record[name]) if name != "layer" else f"layer {record[name]}"
        for name in ("model", "layer", "contrast")
        if record.get(name)
    )
    counts = record.get("counts") or {}
    if {"fit", "judge", "test"} <= counts.keys():
        fit, judge, test = (_statements(counts[part]) for part in ("fit", "judge", "test"))
        yield (
            f"{where}: steerers were fitted to {fit}, the barrier that judges them to {judge} of "
            f"other questions; everything is measured on {test} that neither has seen."
        )
    for label, error in (record.get("errors") or {}).items():
        yield f"{where}: {label} could not be diagnosed: {error}"
    for label, reason in (record.get("left_out") or {}).items():
        yield f"{label} is not diagnosed: {reason}."
    for label, displacements in (record.get("unreached") or {}).items():
        shares = ", ".join(f"{displacement:g}" for displacement in displacements)
        yield f"{where}: no strength of {label} displaces by {shares} median norms."


def _statements(count: Mapping[str, int]) -> str:
    return f"{int(count['positive']) + int(count['negative'])} statements"
