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

_END = (
    r"(?:(?:api[_-]?keys?|access[_-]?key(?:[_-]id)?|private[_-]?key"
    r"|secrets?(?:[_-](?:access[_-])?key)?|(?<!eos_)(?<!bos_)(?<!pad_)(?<!unk_)(?<!end_)token"
    r"|password|passwd|passphrase|pwd|credentials?|auth)"
    r"|(?-i:(?<=[a-z0-9])(?:Token|Secret|Password|Credentials?|(?:Access|Api|Private)Key)))"
)
"""End of a telling name: of `hf_token`, `AWS_SECRET_KEY` or `accessToken`, but not of `eos_token`.
What comes before it is not matched, which would take quadratic time."""
_START = r"(?:(?<![A-Za-z0-9])|(?-i:(?<=[a-z0-9])(?=[A-Z])))"
_SECRET_NAME = re.compile(
    rf"(?:.*{_START})?{_END}|(?:api_?|access_?|auth_?|hf_?)?tokens", re.IGNORECASE | re.DOTALL
)
_HEADER_NAME = re.compile(r"(?:proxy-)?authorization|(?:set-)?cookie", re.IGNORECASE)
_FORMS = (
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\b(?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{16,}"),
    re.compile(r"\b(?:glpat|xox[abeprs])-[A-Za-z0-9_-]{10,}"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"\bAIza[0-9A-Za-z_-]{30,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    re.compile(r"(?i:(?<=bearer ))[A-Za-z0-9._~+/-]{8,}=*"),
    re.compile(r"(?<=-----BEGIN )[A-Z ]*PRIVATE KEY-----.*?(?:-----END|\Z)", re.DOTALL),
)
"""Tokens of Hugging Face, OpenAI and others, GitHub, GitLab, Slack, AWS and Google, JSON web
tokens, bearer tokens, and private keys."""
_IN_URI = (
    re.compile(r"(?<=://)[^/\s@'\"]{1,1000}(?=@)"),
    # A password with a slash; a port is none.
    re.compile(r"(?<=://)[^/\s:@'\"]{1,200}:(?!\d+/)[^\s@'\"]{1,200}(?=@)"),
)
_VALUE = r"(?:b?\"(?P<double>[^\"\n]+)|b?'(?P<single>[^'\n]+)|(?P<bare>[^\s,;&'\"}\])]+))"
_ASSIGNED = (
    re.compile(rf"{_START}{_END}['\"]?\s*[=:]\s*{_VALUE}", re.IGNORECASE),
    re.compile(rf"(?<![\w-])--(?:[a-z0-9]{{1,20}}[_-]){{0,4}}{_END}\s+{_VALUE}", re.IGNORECASE),
    re.compile(rf"[?&](?:[a-z-]*signature|sig)={_VALUE}", re.IGNORECASE),
    re.compile(
        r"\b(?:proxy-)?authorization['\"]?\s*[=:]\s*(?:b?['\"])?"
        r"(?:(?:basic|bearer|token|digest|negotiate|apikey)\s+)?(?P<bare>[^\s,;'\"]+)",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?:set-)?cookie['\"]?\s*[=:]\s*(?:b?['\"])?(?P<bare>[^\n'\"]+)", re.IGNORECASE),
)
"""Settings, options of a command line, signatures of addresses, headers."""
_PLAIN = re.compile(r"(?:none|null|true|false|\d{1,6}|last|mean|all|\[redacted\])", re.IGNORECASE)
"""Values that are no secrets, such as those of the option `token`."""
_LEAST_LENGTH = 8
"""Shorter values of environment variables are not looked for."""


def is_secret_name(name: str) -> bool:
    """Whether a setting of that name holds a secret, such as `hf_token` or `AWS_SECRET_KEY`."""
    name = name.strip()
    return any(each.fullmatch(name) for each in (_SECRET_NAME, _HEADER_NAME))


def redacted(text: str) -> str:
    """`text` with every secret in it replaced.

    Args:
        text: A message, a URI or a list of settings such as `pretrained=x,token=hf_abc`.
    """
    for value in _of_environment():
        text = text.replace(value, HIDDEN)
    for assigned in _ASSIGNED:
        text = assigned.sub(_without_value, text)
    return _without_forms(text)


def holds_secret(text: str) -> bool:
    """Whether a text holds a token of a known form, the user of an address, or a value of a
    variable of the environment that has a telling name."""
    return any(value in text for value in _of_environment()) or _without_forms(text) != text


def _without_forms(text: str) -> str:
    for form in (*_IN_URI, *_FORMS):
        text = form.sub(HIDDEN, text)
    return text


def redacted_data(data: Any) -> Any:
    """JSON data with every secret in its texts, and under telling names, replaced."""
    if isinstance(data, str):
        return redacted(data)
    if isinstance(data, Mapping):
        return {
            redacted(name) if isinstance(name, str) else name: _setting(name, value)
            for name, value in data.items()
        }
    if isinstance(data, Sequence) and not isinstance(data, bytes):
        return [redacted_data(value) for value in data]
    return data


def _setting(name: Any, value: Any) -> Any:
    return _hidden(value) if is_secret_name(str(name)) else redacted_data(value)


def _hidden(value: Any) -> Any:
    """What stands under a telling name, without its texts and numbers."""
    if isinstance(value, Mapping):
        return {name: _hidden(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_hidden(each) for each in value]
    return value if value is None or _PLAIN.fullmatch(str(value)) else HIDDEN


def _without_value(match: re.Match[str]) -> str:
    name = next(name for name, value in match.groupdict().items() if value is not None)
    if _PLAIN.fullmatch(match[name]):
        return match[0]
    start, end = (at - match.start() for at in match.span(name))
    return match[0][:start] + HIDDEN + match[0][end:]


def _of_environment() -> list[str]:
    """Values of variables with telling names, the longest first.

    Paths are no secrets: `PWD` is the current folder, and GOOGLE_APPLICATION_CREDENTIALS a file.
    """
    values = (value for name, value in os.environ.items() if is_secret_name(name))
    secret = (v for v in values if len(v) >= _LEAST_LENGTH and not os.path.lexists(v))
    return sorted(secret, key=len, reverse=True)
