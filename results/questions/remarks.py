"""Remarks on the diagnoses as a whole: their data, and the methods that were left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from steereval.results.store.diagnosis import Diagnosis, DiagnosisRecord, PartSize


def remarks(diagnoses: Mapping[str, Diagnosis]) -> tuple[str, ...]:
    """Sentences from the records; the same one once."""
    texts = (text for diagnosis in diagnoses.values() for text in _of(diagnosis.record))
    return tuple(dict.fromkeys(texts))


def _of(record: DiagnosisRecord) -> Iterator[str]:
    layer = f"layer {record.layer}" if record.layer else ""
    where = ", ".join(filter(None, (record.model, layer, record.contrast)))
    if record.counts is not None:
        parts = record.counts.fit, record.counts.judge, record.counts.test
        fit, judge, test = map(_statements, parts)
        yield (
            f"{where}: steerers were fitted to {fit}, the barrier that judges them to {judge} of "
            f"other questions; everything is measured on {test} that neither has seen."
        )
    for label, error in record.errors.items():
        yield f"{where}: {label} could not be diagnosed: {error}"
    for label, reason in record.left_out.items():
        yield f"{label} is not diagnosed: {reason}."
    for label, displacements in record.unreached.items():
        shares = ", ".join(f"{displacement:g}" for displacement in displacements)
        yield f"{where}: no strength of {label} displaces by {shares} median norms."


def _statements(size: PartSize) -> str:
    return f"{size.positive + size.negative} statements"
