"""The report: one HTML page that needs no network, and the same as Markdown, CSV and Parquet."""

from __future__ import annotations

from steereval.results.report.build import build_report, publish_report, report_reader

__all__ = ["build_report", "publish_report", "report_reader"]
