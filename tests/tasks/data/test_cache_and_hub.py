"""Where files are looked for, and that a machine without a network is told so quickly."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from steereval.common.errors import TaskError
from steereval.common.paths import cache_folder
from steereval.tasks.data import hub
from steereval.tasks.data.local_files import cached_file, data_folder


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("STEEREVAL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/u/.cache/steereval")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert cache_folder() == Path("/shared/steereval")
    monkeypatch.setenv("STEEREVAL_CACHE", "~/own")
    assert cache_folder() == Path("/home/u/own")


def test_cached_file(cache: Path) -> None:
    with pytest.raises(TaskError, match=r"needs the file .*a/f.txt.*tasks fetch t"):
        cached_file("a", "f.txt", "t")
    (cache / "a").mkdir(parents=True)
    (cache / "a" / "f.txt").touch()
    assert cached_file("a", "f.txt", "t") == cache / "a" / "f.txt"


def test_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEEREVAL_DATA", raising=False)
    assert data_folder(None) is None
    monkeypatch.setenv("STEEREVAL_DATA", "/data")
    assert data_folder(None) == Path("/data")
    assert data_folder(Path("/given")) == Path("/given")


class Refuses(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """A hub that answers, if only to refuse, and that was not reached before."""
    monkeypatch.setattr(hub, "_reached", threading.Event())
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def test_a_hub_that_answers_is_in_reach_and_is_asked_once(
    endpoint: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub.hub_in_reach()
    monkeypatch.setattr(hub, "ask_hub", lambda: pytest.fail("asked again"))
    assert hub.hub_in_reach()


@pytest.mark.slow
def test_a_closed_port_is_out_of_reach_at_once(
    endpoint: http.server.ThreadingHTTPServer,
) -> None:
    endpoint.shutdown()
    endpoint.server_close()
    started = time.monotonic()
    assert not hub.hub_in_reach()
    assert time.monotonic() - started < 3


def test_a_hub_that_hangs_is_out_of_reach(
    endpoint: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ask_hub", lambda: time.sleep(5))
    monkeypatch.setattr(hub, "REACH_SECONDS", 0.2)
    started = time.monotonic()
    assert not hub.hub_in_reach()
    assert time.monotonic() - started < 3


def test_offline_settings_are_believed(
    endpoint: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert not hub.hub_in_reach()


def test_the_offline_setting_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE

    def fail_within() -> None:
        with hub.quick_hub():
            assert datasets.config.HF_HUB_OFFLINE
            assert constants.is_offline_mode()
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()
    assert before == (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)


def test_a_data_set_that_is_missing(no_hub: None) -> None:
    started = time.monotonic()
    with pytest.raises(TaskError, match=r"'no/such' \(c\) is not available .*Do this"):
        hub.load_from_hub("no/such", "c", "Do this.")
    assert time.monotonic() - started < 5
