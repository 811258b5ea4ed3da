"""Files of the report: HTML, Markdown, LaTeX, CSV, Parquet, data sets."""
