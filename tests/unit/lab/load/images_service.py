"""A small Images API on a socket of its own, with one fault at a time, to see that the load sees it."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from include.lab.load.plan import Entrance

SERVED_BY = "node7"


@dataclass
class Service:
    """What the service holds, and the fault it shows: the name of a method below, or empty."""

    entrance: Entrance
    fault: str = ""
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if self.service.fault == "unavailable":
            self._answer(503, b"<html>No server is available</html>")
        elif self.service.fault == "no answer":
            self.close_connection = True
        elif len(parts) == 2:
            self._json(200, {"images": list(self.service.images.values())})
        elif parts[2] not in self.service.images:
            self._answer(404, b"")
        elif len(parts) == 3:
            self._json(200, self.service.images[parts[2]])
        else:
            self._file(self.service.contents[parts[2]])

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image = {"id": str(uuid.uuid4()), "name": wanted["name"], "status": "queued", "size": None}
        self.service.images[image["id"]] = image
        self._json(201, image)

    def do_PUT(self) -> None:
        if self.service.fault == "early answer":
            self._answer(503, b"going down")
            self.close_connection = True
            return
        image = self.path.split("/")[3]
        content = b"".join(self._chunks())
        self.service.contents[image] = content
        self.service.images[image] |= {
            "status": "active",
            "size": len(content),
            "os_hash_value": hashlib.sha512(content).hexdigest(),
        }
        self._answer(204, b"")

    def do_DELETE(self) -> None:
        found = self.service.images.pop(self.path.split("/")[3], None)
        self._answer(204 if found else 404, b"")

    def _file(self, content: bytes) -> None:
        sent = {
            "short": content[:-1000],
            "altered": content[:-1] + bytes([content[-1] ^ 1]),
        }.get(self.service.fault, content)
        self._answer(200, sent, length=len(content))
        if len(sent) != len(content):
            self.close_connection = True

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _json(self, status: int, data: object) -> None:
        self._answer(status, json.dumps(data).encode())

    def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Served-By", SERVED_BY)
        if status != 204:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that goes away is part of the tests."""


@contextmanager
def running_service() -> Iterator[Service]:
    """Serve on a free port of loopback inside the ``with``. There is no runtime API beside it."""
    server = _Server(("127.0.0.1", 0), _Handler)
    service = Service(Entrance("lb1", "127.0.0.1", server.server_port, admin_port=1))
    server.RequestHandlerClass = type("Handler", (_Handler,), {"service": service})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
