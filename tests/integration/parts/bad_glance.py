"""A node whose Glance takes every request and does one thing wrong, which a real one cannot be made to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class BadGlance:
    """Answers as the Images API does; ``images`` are the ids that it holds."""

    port: int
    upload_status: int = 204
    content: bytes = b""
    """What every download gives."""
    images: set[str] = field(default_factory=set)


@contextmanager
def bad_glance() -> Iterator[BadGlance]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            image = self.path.partition("?")[0].removeprefix("/v2/images").strip("/").removesuffix("/file")
            status, body = 200, b""
            if self.command == "POST":
                made.images.add("1")
                status, body = 201, json.dumps({"id": "1"}).encode()
            elif self.command == "PUT":
                status = made.upload_status
            elif self.command == "DELETE":
                made.images.remove(image)
                status = 204
            else:
                body = made.content if image else json.dumps({"images": []}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that the base class looks for

        def log_message(self, *args: object) -> None:
            """What it holds says enough."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = BadGlance(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
