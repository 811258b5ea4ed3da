"""The hash by which lm-eval names a document."""

from __future__ import annotations

import json
from typing import Any

from lm_eval.utils import handle_non_serializable, hash_string


def doc_hash(document: Any) -> str:
    """The document's hash, as lm-eval's samples give it; an item's id is its first half."""
    text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return str(hash_string(text))
