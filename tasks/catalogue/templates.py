"""Templates of tasks, compiled once each.

lm-eval compiles a task's Jinja template again for every document and every use of it: a
millisecond each, most of what an evaluation on answers that are there already takes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

KEPT = 1024
"""Compiled templates that are kept; a task has a handful."""


def keep_compiled() -> None:
    """Let lm-eval use a template that it has compiled again, in this process."""
    from lm_eval import utils

    environment: Any = utils.env
    if not hasattr(environment.from_string, "cache_info"):
        environment.from_string = lru_cache(KEPT)(environment.from_string)
