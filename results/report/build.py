"""Building the report folder from a run folder, at any time and as often as wanted."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from steereval.results.analysis import Analysis, analyse
from steereval.results.profiles import read_profiles
from steereval.results.report.content import content_of
from steereval.results.report.flat import csv_bytes, flat_table
from steereval.results.report.folder import MARKER, replaced_whole
from steereval.results.report.item_lines import write_item_lines
from steereval.results.report.markdown import render_markdown
from steereval.results.report.page import render_page
from steereval.results.report.posted import posted_latex, posted_markdown
from steereval.results.store import RunFolder


def build_report(run: RunFolder, out: Path | None = None) -> Path:
    """Write the report on `run` into `out` (RUN/report if None); return the path of its page.

    The folder holds index.html, report.md, items.jsonl, figures/, and the leaderboard as .csv,
    .parquet, .md and .tex.
    It is written beside the old one and then takes its place. A folder in the way that is no
    report, or one that cannot be written, is a StoreError.
    """
    folder = report_folder(run) if out is None else out
    analysis = analyse(run)
    with replaced_whole(folder) as fresh:
        _write(run, analysis, fresh)
    return folder / MARKER


def report_folder(run: RunFolder) -> Path:
    """Where the report of `run` stands unless another place is asked for."""
    return run.path / "report"


def _write(run: RunFolder, analysis: Analysis, folder: Path) -> None:
    content = content_of(analysis, run.read_manifest(), read_profiles(run.path))
    table = flat_table(analysis.rows)
    figures = folder / "figures"
    figures.mkdir()
    for picture in content.pictures:
        (figures / f"{picture.name}.svg").write_text(picture.svg, encoding="utf-8")
        (figures / f"{picture.name}.png").write_bytes(picture.png)
    (folder / MARKER).write_text(render_page(content), encoding="utf-8")
    (folder / "report.md").write_text(render_markdown(content), encoding="utf-8")
    (folder / "leaderboard.csv").write_bytes(csv_bytes(table))
    (folder / "leaderboard.md").write_text(posted_markdown(analysis), encoding="utf-8")
    (folder / "leaderboard.tex").write_text(posted_latex(analysis), encoding="utf-8")
    pq.write_table(table, folder / "leaderboard.parquet")
    write_item_lines(run, folder / "items.jsonl")
