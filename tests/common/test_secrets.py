"""Secrets are found by form, by name and in the environment, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import InputError
from steereval.common.secrets import HIDDEN, is_secret_name, redacted, redacted_data

SECRET = "Zx9secretVALUE77"
TEXTS = [
    f"s3://KEY:{SECRET}@bucket/run",
    f"https://{SECRET}@host/x",
    f"s3://b/x?access_key=A&secret_key={SECRET}",
    f"pretrained=x,token=hf_{SECRET}abcdef,dtype=float32",
    f"{{'api_key': '{SECRET}'}}",
    f'{{"HF_TOKEN": "{SECRET}"}}',
    f"password: {SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"the key sk-{SECRET}abcdef is wrong",
    f"the key hf_{SECRET}abcdef is wrong",
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
]
PLAIN = [
    "unknown token 'lastt'. Use last or mean.",
    "option token=last",
    "max_tokens=128, n_tokens: 5",
    "s3://bucket/run?region=eu",
    "mail me@example.org",
    "revision=main, pretrained=gpt2",
    "12 tokens: the prompt's own",
]


@pytest.mark.parametrize("text", TEXTS)
def test_secrets_are_redacted(text: str) -> None:
    assert SECRET not in redacted(text)
    assert HIDDEN in redacted(text)


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("text", TEXTS)
def test_errors_quote_no_secret(text: str) -> None:
    error = InputError(f"{text} cannot be used", "Mend it.")
    assert SECRET not in str(error) + error.problem


@given(st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


def test_values_of_the_environment_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", SECRET)
    assert redacted(f"refused: {SECRET}") == f"refused: {HIDDEN}"


def test_settings_under_telling_names_are_redacted() -> None:
    data = {"a": {"hf_token": SECRET}, "b": [f"token={SECRET}"], "token": "last", "n": 3}
    assert redacted_data(data) == {
        "a": {"hf_token": HIDDEN}, "b": [f"token={HIDDEN}"], "token": "last", "n": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [("HF_TOKEN", True), ("api_key", True), ("AWS_SECRET_ACCESS_KEY", True), ("password", True),
     ("max_tokens", False), ("tokenizer", False), ("key", False), ("author", False)],
)  # fmt: skip
def test_names_that_tell(name: str, expected: bool) -> None:
    assert is_secret_name(name) is expected
