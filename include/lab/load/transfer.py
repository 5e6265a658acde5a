"""Moving the content of an image at an even pace, and verifying every byte of it."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections.abc import Iterator

from include.lab.load.connection import Connection, EarlyAnswerError, Exchange, WrongAnswerError
from include.lab.load.content import BLOCK, Content


class Pace:
    """Spreads ``size`` bytes evenly over ``seconds``. Once ``hurry`` is set nothing waits any more."""

    def __init__(self, size: int, seconds: float, hurry: threading.Event) -> None:
        self._seconds_per_byte = seconds / size if size else 0.0
        self._hurry = hurry
        self._began = time.monotonic()

    def wait_for(self, moved: int) -> None:
        """Return when ``moved`` bytes are due."""
        delay = self._began + moved * self._seconds_per_byte - time.monotonic()
        if delay > 0:
            self._hurry.wait(delay)


def outgoing(content: Content, pace: Pace, connection: Connection, exchange: Exchange) -> Iterator[bytes]:
    """The body of an upload. Raises EarlyAnswerError where the other side does not wait for the end.

    Ending the iterator instead would end the chunked body properly: a truncated upload that looks whole.
    """
    for block in content.blocks():
        if connection.readable():
            raise EarlyAnswerError(f"answered or closed after {exchange.bytes} of {content.size} bytes")
        yield block
        exchange.bytes += len(block)
        pace.wait_for(exchange.bytes)


def incoming(response: http.client.HTTPResponse, content: Content, pace: Pace, exchange: Exchange) -> None:
    """Read a download to its end. Raises WrongAnswerError where it is short, long or not the content."""
    digest = hashlib.sha512()
    while block := response.read(BLOCK):
        digest.update(block)
        exchange.bytes += len(block)
        pace.wait_for(exchange.bytes)
    if exchange.bytes != content.size:
        raise WrongAnswerError(f"{exchange.bytes} bytes arrived, expected {content.size}")
    if digest.hexdigest() != content.sha512:
        raise WrongAnswerError(f"content of {content.size} bytes differs from what was uploaded")
