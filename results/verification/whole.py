"""All checks that a run's tables allow by themselves, without a model."""

from __future__ import annotations

from collections.abc import Iterator

from steereval.common.errors import StoreError
from steereval.results.store.manifest import parse_plan
from steereval.results.store.retired import describe_retired
from steereval.results.store.run_folder import RunFolder
from steereval.results.verification.cells import check_cells
from steereval.results.verification.documents import check_documents
from steereval.results.verification.finding import Finding
from steereval.results.verification.statistics import ReadReport, check_statistics
from steereval.results.verification.sums import check_sums
from steereval.results.verification.versions import check_versions


def verify_tables(run: RunFolder, report: ReadReport, others_are_wrong: bool) -> Iterator[Finding]:
    """Findings on the checksums, the cells, the versions and the report that `report` reads.

    `others_are_wrong`: whether other installed versions than the recorded ones are a fault.
    """
    yield from check_sums(run)
    unreadable = list(check_documents(run))
    yield from unreadable
    try:
        manifest = run.read_manifest()
        parse_plan(manifest)
        records = run.records()
    except StoreError as error:
        if not unreadable:
            yield Finding("run", error.problem)
        return
    yield from check_cells(run, manifest, records)
    if retired := describe_retired(run):
        yield Finding("retired", retired, False)
    yield from check_versions(manifest.versions, records, others_are_wrong)
    yield from check_statistics(run, report)
