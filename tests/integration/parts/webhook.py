"""Who is told over HTTP: a real server on loopback, which keeps what it got."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Webhook:
    """Answers every request with ``status``, with a ``location`` if one is given."""

    port: int
    status: int = 204
    location: str = ""
    silent: threading.Event = field(default_factory=threading.Event)
    """While set, no request is answered."""
    got: list[Request] = field(default_factory=list)

    def connection(self, **fields: object) -> dict[str, object]:
        return {"conn_type": "http", "host": ADDRESS, "port": self.port, **fields}

    def until(self, done: Callable[[list[Request]], bool], seconds: float) -> bool:
        """Whether what came is enough, within that time."""
        deadline = time.monotonic() + seconds
        while not done(self.got) and time.monotonic() < deadline:
            time.sleep(0.1)
        return done(self.got)


@contextmanager
def webhook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.got.append(Request(self.command, self.path, dict(self.headers), body))
            while made.silent.is_set():
                time.sleep(0.05)
            self.send_response(made.status)
            if made.location:
                self.send_header("Location", made.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET = answer  # noqa: N815 - the names that the base class looks for

        def log_message(self, *args: object) -> None:
            """Requests are kept, not printed."""

    with ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        made = Webhook(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made
        finally:
            made.silent.clear()
            server.shutdown()
            thread.join()
