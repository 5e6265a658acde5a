"""What the load is doing right now: counters, and which node serves each slow transfer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from include.lab.load.lines import Operation, utc_now
from include.lab.load.plan import Entrance

UNKNOWN = "unknown"
"""Stands for the server of a transfer that no balancer has named yet."""


@dataclass
class Transfer:
    """One slow transfer under way. ``server`` is None until it is known."""

    kind: str
    entrance: Entrance
    local_port: int
    server: str | None = None


class Progress:
    """Shared by all clients of a run; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._failed = 0
        self._transfers: list[Transfer] = []

    def seen(self, operation: Operation) -> None:
        with self._lock:
            self._requests += 1
            self._failed += not operation.ok

    @contextmanager
    def transfer(self, kind: str, entrance: Entrance, local_port: int) -> Iterator[Transfer]:
        """Counts as running inside the ``with``. ``kind`` is upload or download."""
        transfer = Transfer(kind, entrance, local_port)
        with self._lock:
            self._transfers.append(transfer)
        try:
            yield transfer
        finally:
            with self._lock:
                self._transfers.remove(transfer)

    def running(self) -> list[Transfer]:
        with self._lock:
            return list(self._transfers)

    def counters(self) -> dict[str, object]:
        """Requests so far, failed ones, and running transfers as {server: {"upload": n, "download": n}}."""
        by_server: dict[str, dict[str, int]] = {}
        for transfer in self.running():
            kinds = by_server.setdefault(transfer.server or UNKNOWN, {"upload": 0, "download": 0})
            kinds[transfer.kind] += 1
        with self._lock:
            return {
                "at": utc_now(),
                "requests": self._requests,
                "failed_requests": self._failed,
                "running_transfers": by_server,
            }
