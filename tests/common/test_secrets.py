"""Secrets are found by form, by name and in the environment, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import InputError
from steereval.common.secrets import (
    HIDDEN,
    holds_secret,
    is_secret_name,
    redacted,
    redacted_data,
)

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
    f"Authorization: Basic {SECRET}==",
    f"authorization: bearer {SECRET}",
    f"s3://KEY:ab/{SECRET}@bucket/run",
    f"https://b/k?X-Amz-Signature={SECRET}",
    f"steereval run --hf-token {SECRET}",
    f"accessToken={SECRET}, secretAccessKey: A",
    f"password: 'my {SECRET}'",
    f"token=b'{SECRET}'",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    f"glpat-{SECRET}",
    f"Cookie: a=b; session={SECRET}",
]
PLAIN = [
    "unknown token 'lastt'. Use last or mean.",
    "option token=last",
    "max_tokens=128, n_tokens: 5",
    "s3://bucket/run?region=eu",
    "mail me@example.org",
    "revision=main, pretrained=gpt2",
    "12 tokens: the prompt's own",
    "eos_token=</s>, think_end_token: </think>",
    "http://host:8080/a@b",
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
    error = InputError(f"{text} cannot be used", f"Mend {text}.")
    assert SECRET not in str(error) + error.problem + error.remedy


@given(st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize("part", ["a_", "--a-", "://a:", "token", "token=", "-----BEGIN ", "eyJa."])
@pytest.mark.timeout(20)
def test_long_texts_end(part: str) -> None:
    """In linear time: with quadratic time the first of them takes minutes."""
    assert not is_secret_name(part * 40_000)
    redacted(part * 40_000)


def test_values_of_the_environment_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", SECRET)
    assert redacted(f"refused: {SECRET}") == f"refused: {HIDDEN}"


def test_settings_under_telling_names_are_redacted() -> None:
    data = {"a": {"hf_token": SECRET}, "b": [f"token={SECRET}"], "token": "last", "n": 3}
    assert redacted_data(data) == {
        "a": {"hf_token": HIDDEN}, "b": [f"token={HIDDEN}"], "token": "last", "n": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [{"Authorization": f"Basic {SECRET}"}, {"secret": {"a": [SECRET]}}, {"tokens": [SECRET]},
     {"accessToken": SECRET}, {"password": 987654321, "x": 1}],
)  # fmt: skip
def test_all_that_stands_under_a_telling_name_is_redacted(data: Any) -> None:
    text = str(redacted_data(data))
    assert SECRET not in text
    assert "987654321" not in text
    assert HIDDEN in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [("HF_TOKEN", True), ("api_key", True), ("AWS_SECRET_ACCESS_KEY", True), ("password", True),
     ("max_tokens", False), ("tokenizer", False), ("key", False), ("author", False)],
)  # fmt: skip
def test_names_that_tell(name: str, expected: bool) -> None:
    assert is_secret_name(name) is expected


def test_paths_in_the_environment_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell sets PWD, and an error must name the file that is missing."""
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    text = f"the file {tmp_path}/data.jsonl cannot be read"
    assert redacted(text) == text
    assert not holds_secret(text)
