"""Sections of the report, from the analysis to blocks of text, tables and figures."""
