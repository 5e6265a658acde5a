"""Clients of the service that come through a balancer."""

from __future__ import annotations

import http.client
import threading

from rolling_upgrade.hooks.balancer import Admin
from tests.integration.parts.backend import Backend
from tests.integration.parts.haproxy import HAProxy
from tests.integration.parts.processes import until


class Client:
    """One request through the balancer, on a thread of its own."""

    def __init__(self, lb: HAProxy, path: str) -> None:
        self.status = 0
        self.served_by = ""
        self._connection = http.client.HTTPConnection("127.0.0.1", lb.port, timeout=20)
        self._path = path
        self._thread = threading.Thread(target=self._get, daemon=True)
        self._thread.start()

    @property
    def answered(self) -> bool:
        return self.status != 0

    def end(self) -> None:
        """Wait for the answer."""
        self._thread.join(20)
        self._connection.close()

    def _get(self) -> None:
        try:
            self._connection.request("GET", self._path)
            answer = self._connection.getresponse()
            self.served_by = answer.read().decode()
            self.status = answer.status
        except (OSError, http.client.HTTPException) as error:
            self.served_by = repr(error)


def slow_request_to(lb: HAProxy, servers: dict[str, Backend], name: str) -> Client:
    """A request that this server holds; the others are out of rotation while it is placed."""
    others = [other for other in servers if other != name]
    for other in others:
        lb.hook().set_state(other, Admin.DRAIN)
    client = Client(lb, "/slow")
    assert servers[name].slow_requests.acquire(timeout=10), "the slow request has not come"
    for other in others:
        lb.hook().set_state(other, Admin.READY)
    until(lambda: lb.view(name).sessions == 1, f"one session on {name}")
    return client
