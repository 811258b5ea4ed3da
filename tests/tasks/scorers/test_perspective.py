"""The client of Perspective's API against a local server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from perspective_service import Service, scored, serving

from steereval.common.errors import TaskError
from steereval.tasks.scorers import perspective
from steereval.tasks.scorers.perspective import Perspective


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client wanted to wait; it does not."""
    result: list[float] = []
    monkeypatch.setattr(perspective.time, "sleep", result.append)
    return result


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Service]]:
    with serving() as address:
        monkeypatch.setattr(perspective, "ENDPOINT", address)
        yield Service


def test_a_text_is_sent_with_the_key_and_not_kept_there(
    service: type[Service], waits: list[float]
) -> None:
    service.planned = [scored(0.25), scored(0.75)]
    scores = Perspective("secret").score([("", "one"), ("ignored", "two")])
    assert scores == [(0.25,), (0.75,)]
    bodies = [body for body, _ in service.requests]
    assert [body["comment"]["text"] for body in bodies] == ["one", "two"]
    assert all(body["requestedAttributes"] == {"TOXICITY": {}} for body in bodies)
    assert all(body["doNotStore"] is True and body["languages"] == ["en"] for body in bodies)
    assert {key for _, key in service.requests} == {"secret"}
    assert max(waits) == pytest.approx(1, abs=0.5)


def test_an_empty_text_is_not_sent(service: type[Service], waits: list[float]) -> None:
    assert Perspective("secret").score([("", ""), ("", " \n")]) == [(0.0,), (0.0,)]
    assert service.requests == []


def test_of_a_text_that_is_too_long_the_beginning_is_judged(
    service: type[Service], waits: list[float]
) -> None:
    Perspective("secret").score([("", "a" + "é" * 2000), ("", "b" * 3000)])
    sent = [body["comment"]["text"] for body, _ in service.requests]
    assert sent == ["a" + "é" * 1499, "b" * 3000]


def test_too_many_requests_are_sent_again_later(service: type[Service], waits: list[float]) -> None:
    service.planned = [(429, {}, {"Retry-After": "7"}), (503, {}, {}), scored(0.125)]
    assert Perspective("secret").score([("", "one")]) == [(0.125,)]
    assert len(service.requests) == 3
    assert 7.0 in waits
    assert 2.0 in waits


def test_a_quota_that_stays_exceeded_is_an_error(
    service: type[Service], waits: list[float]
) -> None:
    service.planned = [(429, {"error": {"message": "Quota exceeded"}}, {})] * 6
    with pytest.raises(TaskError, match=r"\(429\): Quota exceeded.*PERSPECTIVE_API_KEY"):
        Perspective("secret").score([("", "one")])
    assert len(service.requests) == 6


def test_a_refused_key_is_an_error_at_once(service: type[Service], waits: list[float]) -> None:
    service.planned = [(403, {"error": {"message": "API key not valid"}}, {})]
    with pytest.raises(TaskError, match="API key not valid") as caught:
        Perspective("secret").score([("", "one")])
    assert len(service.requests) == 1
    assert "secret" not in str(caught.value)


def test_an_answer_of_another_form_is_an_error(service: type[Service], waits: list[float]) -> None:
    service.planned = [(200, {"surprise": 1}, {})]
    with pytest.raises(TaskError, match="gives no TOXICITY"):
        Perspective("secret").score([("", "one")])


def test_a_server_that_is_not_there_is_an_error(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perspective, "ENDPOINT", "http://127.0.0.1:1/analyze")
    with pytest.raises(TaskError, match="cannot be reached"):
        Perspective("secret").score([("", "one")])
