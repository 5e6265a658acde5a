"""The lines of the load: one for each request, appended the moment it is over."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True)
class Operation:
    """One request as its client saw it."""

    at: str
    """When it began: UTC, ISO 8601, milliseconds."""
    client: str
    op: str
    """create, upload, show, list, download, delete, and slow_upload or slow_download for the slow ones."""
    balancer: str
    server: str | None
    """The node that answered; for a transfer without an answer the node the balancer gave it to."""
    status: int | None
    ok: bool
    seconds: float
    bytes: int
    error: str | None
    image: str | None
    name: str | None = None
    """The image's name, also where a create got no answer and so no id."""


@dataclass(frozen=True)
class Begun:
    """A changing request about to be sent. Without a line of its own later, it was cut with its client."""

    op: str
    name: str
    image: str | None


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Recorder:
    """Appends lines; many threads may share it. A line is in the file once the call returns."""

    def __init__(self, operations: Path, begun: Path, seen: Callable[[Operation], None]) -> None:
        # Line buffered: after kill -9 everything written so far is in the file.
        self._operations: IO[str] = operations.open("a", buffering=1, encoding="utf-8")
        self._begun: IO[str] = begun.open("a", buffering=1, encoding="utf-8")
        self._seen = seen
        self._lock = threading.Lock()

    def begin(self, begun: Begun) -> None:
        with self._lock:
            self._begun.write(json.dumps(asdict(begun)) + "\n")

    def write(self, operation: Operation) -> None:
        with self._lock:
            self._operations.write(json.dumps(asdict(operation)) + "\n")
        self._seen(operation)

    def close(self) -> None:
        with self._lock:
            self._operations.close()
            self._begun.close()


def read_operations(path: Path) -> list[Operation]:
    """All whole lines of the file, in order of their end; empty where there is none."""
    return [Operation(**line) for line in _whole_lines(path)]


def read_begun(path: Path) -> list[Begun]:
    return [Begun(**line) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            # A last line without its end was cut by kill -9, or is being written just now.
            if line.endswith("\n"):
                yield json.loads(line)
