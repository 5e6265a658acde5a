"""A small HTTP service behind the balancers: health that can be switched, and requests that last as long as wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_SECONDS = 30.0
"""Longest time that a slow request is held when nobody releases it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: HAProxy cuts the connection of a check once it has seen the status."""


class Backend:
    """One server. ``/healthcheck`` follows ``healthy``; ``/slow`` answers when it is released; ``/broken`` fails."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.healthy = True
        self.checks = 0
        self.slow_requests = threading.Semaphore(0)
        self.release = threading.Event()
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Close the port. A slow request that is held gets its answer first."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status = 200
                if self.path == "/healthcheck":
                    backend.checks += 1
                    status = 200 if backend.healthy else 503
                elif self.path == "/slow":
                    backend.slow_requests.release()
                    backend.release.wait(SLOW_SECONDS)
                elif self.path == "/broken":
                    status = 500
                body = backend.name.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Nothing: the tests read the balancer."""

        return Handler


@contextmanager
def backends(*names: str) -> Iterator[dict[str, Backend]]:
    """Servers of these names for as long as the block lasts."""
    started = {name: Backend(name) for name in names}
    try:
        yield started
    finally:
        for backend in started.values():
            backend.stop()
