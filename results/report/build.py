"""Building the report folder from a run folder, at any time and as often as wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from steereval.common.activity import doing
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report.content import content_of
from steereval.results.report.item_chunks import item_chunks
from steereval.results.report.writers.folder import MARKER, replaced_whole, uploaded
from steereval.results.report.writers.item_lines import write_item_lines
from steereval.results.report.writers.leaderboard_post import posted_latex, posted_markdown
from steereval.results.report.writers.leaderboard_table import csv_bytes, flat_table
from steereval.results.report.writers.markdown import render_markdown
from steereval.results.report.writers.page import render_page
from steereval.results.store.diagnosis import read_diagnoses
from steereval.results.store.profiles import read_profiles
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage

FOLDER = "report"
"""Where it is in the run folder."""


@dataclass(frozen=True)
class Published:
    """A report where a run keeps it."""

    page: str
    """Path or URI of its page."""

    analysis: Analysis
    """The analysis that the page shows."""


@doing("writing the report")
def build_report(run: RunFolder, out: Path | None = None) -> Path:
    """Write the report on `run` into `out` (RUN/report if None); return the path of its page.

    The folder holds index.html, report.md, items.jsonl, figures/, and the leaderboard as .csv,
    .parquet, .md and .tex.
    It is written next to the old one and then replaces it. A folder in the way that is not a
    report, or one that cannot be written, is a StoreError.
    """
    folder = run.path / FOLDER if out is None else out
    analysis = analyse(run)
    with replaced_whole(folder) as fresh:
        _write(run, analysis, fresh)
    return folder / MARKER


def publish_report(run: RunFolder) -> Published:
    """Write the report on `run` into its own folder, wherever that is."""
    analysis = analyse(run)
    if isinstance(run.place, LocalStorage):
        with replaced_whole(run.path / FOLDER) as fresh:
            _write(run, analysis, fresh)
        return Published(str(run.path / FOLDER / MARKER), analysis)
    with uploaded(run.place, FOLDER) as fresh:
        _write(run, analysis, fresh)
    return Published(run.place.at(f"{FOLDER}/{MARKER}"), analysis)


def report_reader(run: RunFolder, elsewhere: Path | None = None) -> Callable[[str], bytes | None]:
    """Reads a file of the report on `run`, or of the one in the folder `elsewhere`, by its name;
    None if there is none."""
    if elsewhere is not None:
        return LocalStorage(elsewhere).read
    return lambda name: run.place.read(f"{FOLDER}/{name}")


def _write(run: RunFolder, analysis: Analysis, folder: Path) -> None:
    chunks = tuple(item_chunks(run, analysis.sheets))
    content = content_of(
        *(analysis, run.read_manifest(), read_profiles(run.place, run.members()), chunks),
        read_diagnoses(run.place),
    )
    table = flat_table(analysis.rows)
    figures = folder / "figures"
    figures.mkdir()
    for picture in content.pictures:
        (figures / f"{picture.name}.svg").write_text(picture.svg, encoding="utf-8")
        (figures / f"{picture.name}.png").write_bytes(picture.png)
        (figures / f"{picture.name}-dark.svg").write_text(picture.dark_svg, encoding="utf-8")
        (figures / f"{picture.name}-dark.png").write_bytes(picture.dark_png)
    (folder / MARKER).write_text(render_page(content), encoding="utf-8")
    (folder / "report.md").write_text(render_markdown(content), encoding="utf-8")
    (folder / "leaderboard.csv").write_bytes(csv_bytes(table))
    (folder / "leaderboard.md").write_text(posted_markdown(analysis), encoding="utf-8")
    (folder / "leaderboard.tex").write_text(posted_latex(analysis), encoding="utf-8")
    pq.write_table(table, folder / "leaderboard.parquet")
    write_item_lines(run, folder / "items.jsonl")
