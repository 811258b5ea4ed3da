"""`python -m steereval COMMAND ...`: the command line."""

from __future__ import annotations

import sys

from steereval.harness.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
