"""A local server that answers as Perspective's API does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar


def scored(value: float) -> tuple[int, dict[str, Any], dict[str, str]]:
    return 200, {"attributeScores": {"TOXICITY": {"summaryScore": {"value": value}}}}, {}


class Service(BaseHTTPRequestHandler):
    """Gives the planned answers in order, then 0.5 for ever, and keeps what it was asked."""

    planned: ClassVar[list[tuple[int, dict[str, Any], dict[str, str]]]] = []
    requests: ClassVar[list[tuple[dict[str, Any], str | None]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append((body, self.headers.get("x-goog-api-key")))
        status, answer, headers = self.planned.pop(0) if self.planned else scored(0.5)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """Its address, while it serves with nothing planned and nothing asked."""
    Service.planned, Service.requests = [], []
    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/analyze"
    finally:
        server.shutdown()
        server.server_close()
