"""Draw what commands print in a terminal: `python docs/pictures/terminal.py`, from the root."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

WIDTH = 100
PICTURES = {
    "help": ["--help"],
    "plan": ["plan", "examples/paper.yaml"],
    "plan-quickstart": ["plan", "examples/quickstart.yaml"],
    "plan-two-models": ["plan", "examples/two-models.yaml"],
    "failing-grid": ["plan", "docs/pictures/failing-grid.yaml"],
    "suggestions": ["run", "examples/quickstart.yaml", "--out", "runs/first", "--wokers", "2"],
}
"""Name of a picture -> the command line that it shows."""

FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Rich's picture without its fonts, which a viewer would fetch from a server."""


def main() -> None:
    """Draw all pictures."""
    for name, words in PICTURES.items():
        console = Console(record=True, width=WIDTH, file=io.StringIO())
        console.print(Text(f"$ steereval {' '.join(words)}", "bold"))
        console.print(Text.from_ansi(printed(words)))
        path = Path(__file__).with_name(f"terminal-{name}.svg")
        path.write_text(
            console.export_svg(title="steereval", theme=MONOKAI, code_format=FORMAT, unique_id=name)
        )
        print(path)


def printed(words: list[str]) -> str:
    """What a command writes to a terminal of WIDTH columns, with its colours."""
    reading, writing = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "steereval", *words],
        stdout=writing,
        stderr=writing,
        env=os.environ | {"COLUMNS": str(WIDTH), "TERM": "xterm-256color", "HF_HUB_OFFLINE": "1"},
    )
    os.close(writing)
    text = b""
    while piece := _read(reading):
        text += piece
    process.wait()
    return text.decode().replace("\r\n", "\n").rstrip()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # The other end of the terminal is closed.
        return b""


if __name__ == "__main__":
    main()
