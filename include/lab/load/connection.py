"""One client connection to a balancer: kept alive, never retried, with small buffers where asked."""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from include.lab.load.plan import Entrance

RECEIVE_BUFFER = 65_536
"""Bytes the kernel may hold for a slow download, so that the node stays busy as long as its client reads."""

Body = bytes | Iterable[bytes]


@dataclass
class Exchange:
    """What is known of one request so far; it becomes a line."""

    status: int | None = None
    server: str | None = None
    bytes: int = 0
    image: str | None = None
    error: str | None = None


class WrongAnswerError(Exception):
    """The answer arrived, and is not what was expected."""


class EarlyAnswerError(Exception):
    """The balancer answered or closed before the upload was over."""


class _SmallBufferConnection(http.client.HTTPConnection):
    """Set before connecting: the window offered to the peer follows from it."""

    def connect(self) -> None:
        connected = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        connected.settimeout(self.timeout)
        connected.connect((self.host, self.port))
        self.sock = connected


class Connection:
    """A connection to one balancer. Not for several threads at once."""

    def __init__(self, entrance: Entrance, timeout: float, *, small_buffer: bool = False) -> None:
        kind = _SmallBufferConnection if small_buffer else http.client.HTTPConnection
        self.entrance = entrance
        self._http = kind(entrance.address, entrance.port, timeout=timeout)

    def open(self) -> None:
        """Connect where not connected. A close that came while idle costs nothing: nothing was sent yet."""
        if self._http.sock is not None and self.readable():
            self._http.close()
        if self._http.sock is None:
            self._http.connect()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readable(self) -> bool:
        """True where something arrived that nobody asked for yet: an answer or the end of the connection."""
        poll = select.poll()
        poll.register(self._http.sock, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def local_port(self) -> int:
        """Our side's port: by it the balancer knows this connection. Only while open."""
        return int(self._http.sock.getsockname()[1])

    def send(
        self,
        exchange: Exchange,
        method: str,
        path: str,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Send one request and read the head of its answer into ``exchange``.

        Raises OSError or http.client.HTTPException where the connection broke, EarlyAnswerError where the
        answer came before the body was sent.
        """
        self.open()
        chunked = body is not None and not isinstance(body, bytes)
        head = dict(headers or {}) | ({"Transfer-Encoding": "chunked"} if chunked else {})
        try:
            self._http.request(method, path, body=body, headers=head, encode_chunked=chunked)
        except TimeoutError:
            raise
        except (OSError, EarlyAnswerError):
            # The reason may already lie in the receive buffer: an error answer says more than "broken pipe".
            with suppress(OSError, http.client.HTTPException):
                self._read_head(exchange)
            raise
        return self._read_head(exchange)

    def _read_head(self, exchange: Exchange) -> http.client.HTTPResponse:
        response = self._http.getresponse()
        exchange.status = response.status
        exchange.server = response.getheader("X-Served-By") or exchange.server
        return response
