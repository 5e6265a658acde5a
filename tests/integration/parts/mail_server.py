"""Who is told by mail: a real SMTP server on loopback, which keeps what it got."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

with warnings.catch_warnings():
    # Python 3.11, which this project is held to, still serves SMTP by itself; a later one needs aiosmtpd here.
    warnings.simplefilter("ignore", DeprecationWarning)
    import asyncore
    import smtpd

ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Mail:
    """One mail as the server took it."""

    sender: str
    recipients: list[str]
    text: str


@dataclass
class MailServer:
    port: int
    refuses: bool = False
    got: list[Mail] = field(default_factory=list)

    def connection(self, **fields: object) -> dict[str, object]:
        extra = {"disable_ssl": True, "disable_tls": True}
        return {"conn_type": "smtp", "host": ADDRESS, "port": self.port, "extra": extra, **fields}


@contextmanager
def mail_server() -> Iterator[MailServer]:
    class Server(smtpd.SMTPServer):
        def process_message(
            self, peer: Any, mailfrom: str, rcpttos: list[str], data: bytes | str, **_: Any
        ) -> str | None:
            if made.refuses:
                return "554 not here: secret-of-the-server"
            made.got.append(Mail(mailfrom, rcpttos, data.decode() if isinstance(data, bytes) else data))
            return None

    channels: dict[int, Any] = {}
    server = Server((ADDRESS, 0), None, map=channels)  # type: ignore[arg-type]
    assert server.socket is not None
    made = MailServer(server.socket.getsockname()[1])
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            asyncore.loop(timeout=0.05, map=channels, count=1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield made
    finally:
        ended.set()
        thread.join()
        asyncore.close_all(channels)
