"""Wrap lines of docstrings and comments that renaming has made longer than 100 characters."""
import json, subprocess, sys
from collections import defaultdict
from pathlib import Path
root = Path(sys.argv[1])
for _ in range(6):
    found = json.loads(subprocess.run([root / ".venv/bin/ruff", "check", "--select", "E501", "--output-format", "json", "."], cwd=root, capture_output=True, text=True).stdout)
    by = defaultdict(list)
    for f in found:
        by[f["filename"]].append(f["location"]["row"])
    if not by:
        break
    for name, rows in by.items():
        lines = Path(name).read_text().split("\n")
        for row in sorted(set(rows), reverse=True):
            line = lines[row - 1]
            indent = line[: len(line) - len(line.lstrip())]
            mark = "# " if line.lstrip().startswith("# ") else ""
            if '"' in line.strip().strip('"') and not mark and not line.lstrip().startswith('"""'):
                continue
            cut = line.rfind(" ", 0, 101)
            rest = line[cut + 1:]
            after = lines[row] if row < len(lines) else ""
            lines[row - 1] = line[:cut]
            if after.strip() and after.startswith(indent + mark) and not after[len(indent + mark)].isspace() and '"""' not in after[:len(indent) + 3] and not rest.endswith('"""'):
                lines[row] = indent + mark + rest + " " + after[len(indent + mark):]
            else:
                lines.insert(row, indent + mark + rest)
        Path(name).write_text("\n".join(lines))
left = subprocess.run([root / ".venv/bin/ruff", "check", "--select", "E501", "--output-format", "concise", "."], cwd=root, capture_output=True, text=True).stdout
print(left)
