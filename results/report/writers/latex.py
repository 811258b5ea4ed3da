"""A table as LaTeX for the package booktabs."""

from __future__ import annotations

import re

from steereval.results.report.tables.table import Entry, ReportTable

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "◆": r"$\blacklozenge$",
    "○": r"$\circ$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "–": "--",
    "“": "``",
    "”": "''",
    "\N{NO-BREAK SPACE}": "~",
    " %": "~\\%",
}

_SPECIAL = re.compile("|".join(map(re.escape, sorted(_ESCAPES, key=len, reverse=True))))


def escaped(text: str) -> str:
    """`text` as LaTeX prints it as it stands; a minus before a digit is a minus."""
    plain = _SPECIAL.sub(lambda match: _ESCAPES[match[0]], " ".join(text.split("\n")))
    return re.sub(r"(?<![\w$-])-(?=\d|\$\\infty)", "$-$", plain)


def latex_table(grid: ReportTable, caption: str) -> str:
    """`grid` as a float: a line for each row, notes behind the text they belong to."""
    label = re.sub(r"[^A-Za-z0-9:-]+", "-", grid.name).strip("-")
    columns = "".join("r" if column.numeric else "l" for column in grid.columns)
    head = " & ".join(escaped(column.title) for column in grid.columns)
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escaped(caption)}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            rf"    {head} \\",
            r"    \midrule",
            *(f"    {' & '.join(_cell(entry) for entry in row)} \\\\" for row in grid.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _cell(entry: Entry) -> str:
    """A cell; braces keep one that begins with a bracket from being an option of the line above."""
    text = escaped(entry.plain)
    return f"{{{text}}}" if text.startswith(("[", "*")) else text
