"""Ray's tokens: a cluster may ask for one, and a client sends it only where it is set.

For the Jobs API alone: there a token that nobody asks for does no harm, while a driver with one is
not taken by a cluster without.
"""

from __future__ import annotations

import os
from pathlib import Path

MODE = "RAY_AUTH_MODE"


def present_token() -> None:
    """Send the token to clusters if this machine has one, unless the user has decided otherwise.

    To be called before Ray is imported.
    """
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault(MODE, "token")
