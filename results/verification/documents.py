"""The JSON documents of a run against the models that describe them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from steereval.common.reading import parse_json
from steereval.common.validation import path_of
from steereval.results.store.answers import FOLDER as ANSWERS
from steereval.results.store.answers import AnswerRecord
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.diagnosis import FOLDER as DIAGNOSES
from steereval.results.store.diagnosis import DiagnosisRecord
from steereval.results.store.document import document_faults
from steereval.results.store.manifest import Manifest
from steereval.results.store.profiles import FOLDER as PROFILES
from steereval.results.store.profiles import Profile
from steereval.results.store.progress import FILE as PROGRESS
from steereval.results.store.progress import Progress
from steereval.results.store.run_folder import CELLS, MANIFEST, RunFolder
from steereval.results.verification.finding import Finding

_BY_NAME = {MANIFEST: Manifest, PROGRESS: Progress}
_BY_FOLDER = {
    CELLS: CellRecord, PROFILES: Profile, ANSWERS: AnswerRecord, DIAGNOSES: DiagnosisRecord,
}  # fmt: skip


def check_documents(run: RunFolder) -> Iterator[Finding]:
    """Every field of every document that has another form than the contract says.

    Args:
        run: The run folder.

    Yields:
        Findings that name file and field, ordered by file.
    """
    for name, data in run.files(run.stored()):
        path = PurePosixPath(name)
        model = _BY_NAME.get(name) or _BY_FOLDER.get(str(path.parent))
        if model is None or path.suffix != ".json":
            continue
        try:
            value = parse_json(data)
        except ValueError as error:
            yield Finding(name, f"it is damaged: {error}")
            continue
        for fault in document_faults(model, value):
            field = f"{path_of(fault.place)}: " if fault.place else ""
            yield Finding(name, f"{field}{fault.problem}. {fault.remedy}")
