"""Secrets in texts and settings: found by their form, by their name and by the environment.

Every error of this package passes `redacted`, and so does what is copied from other programs'
files. A secret that has no known form, no telling name and no environment variable stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "[redacted]"
"""Stands in place of a secret."""

_NAME = (
    r"(?:[a-z0-9]+[_-])*(?:api[_-]?key|access[_-]?key(?:[_-]id)?|secret(?:[_-](?:access[_-])?key)?"
    r"|token|password|passwd|credentials?|auth|use_auth_token)"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_FORMS = (
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\b(?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{16,}"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"\bAIza[0-9A-Za-z_-]{30,}"),
    re.compile(r"(?<=Bearer )[A-Za-z0-9._~+/-]{8,}=*"),
)
"""Tokens of Hugging Face, OpenAI and others, GitHub, AWS and Google, and of HTTP headers."""
_IN_URI = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_ASSIGNED = re.compile(
    rf"(?<![A-Za-z0-9]){_NAME}['\"]?\s*[=:]\s*['\"]?(?P<value>[^\s,;&'\"}}\])]+)",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"(?:none|null|true|false|\d{1,6}|last|mean|all|\[redacted\])", re.IGNORECASE)
"""Values that are no secrets, such as those of the option `token`."""
_LEAST_LENGTH = 8
"""Shorter values of environment variables are not looked for."""


def is_secret_name(name: str) -> bool:
    """Whether a setting of that name holds a secret, such as `hf_token` or `AWS_SECRET_KEY`."""
    return _SECRET_NAME.fullmatch(name) is not None


def redacted(text: str) -> str:
    """`text` with every secret in it replaced.

    Args:
        text: A message, a URI or a list of settings such as `pretrained=x,token=hf_abc`.
    """
    for value in _of_environment():
        text = text.replace(value, HIDDEN)
    text = _IN_URI.sub(HIDDEN, text)
    text = _ASSIGNED.sub(_without_value, text)
    for form in _FORMS:
        text = form.sub(HIDDEN, text)
    return text


def redacted_data(data: Any) -> Any:
    """JSON data with every secret in its texts, and under telling names, replaced."""
    if isinstance(data, str):
        return redacted(data)
    if isinstance(data, Mapping):
        return {name: _setting(name, value) for name, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, bytes):
        return [redacted_data(value) for value in data]
    return data


def _setting(name: Any, value: Any) -> Any:
    if isinstance(value, str) and is_secret_name(str(name)) and not _PLAIN.fullmatch(value):
        return HIDDEN
    return redacted_data(value)


def _without_value(match: re.Match[str]) -> str:
    if _PLAIN.fullmatch(match["value"]):
        return match[0]
    return match[0][: match.start("value") - match.start()] + HIDDEN


def _of_environment() -> list[str]:
    """Values of variables with telling names, the longest first."""
    values = (value for name, value in os.environ.items() if is_secret_name(name))
    return sorted((v for v in values if len(v) >= _LEAST_LENGTH), key=len, reverse=True)
