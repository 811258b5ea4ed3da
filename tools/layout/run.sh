#!/bin/bash
# run.sh CHECKOUT: migrate a clean checkout that has a .venv with ruff; leaves all of it staged.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$1"
"$here/.venv/bin/python" "$here/migrate.py" "$PWD"
.venv/bin/ruff check --fix -q . >/dev/null || true
.venv/bin/ruff format -q .
"$here/.venv/bin/python" "$here/reflow.py" "$PWD"
.venv/bin/ruff format -q .
.venv/bin/ruff check .
git add -A
