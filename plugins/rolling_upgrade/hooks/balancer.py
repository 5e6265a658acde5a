"""HAProxy through its runtime API: ask and set the rotation state of a server.

HAProxy answers with text and has no exit status: an empty reply to a change is success, anything else is its error.
Source: HAProxy management guide, "Unix Socket commands".
"""

from __future__ import annotations

import csv
import io
import socket
from enum import Enum
from typing import Any

from rolling_upgrade.decisions.rotation import ServerView
from rolling_upgrade.errors import UnreachableError, VerifyError
from rolling_upgrade.fleet.inventory import Balancer

TIMEOUT_SECONDS = 5.0


class Admin(Enum):
    """The administrative states that HAProxy's ``set server … state`` takes."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class BalancerHook:
    """One HAProxy. ``address`` is a path of a UNIX socket or a (host, port)."""

    def __init__(self, balancer: Balancer, address: str | tuple[str, int]) -> None:
        self.balancer = balancer
        self.address = address

    @classmethod
    def from_connection(cls, balancer: Balancer) -> BalancerHook:
        """From the Airflow connection that the fleet file names: host and port, or ``{"socket": path}`` as extra."""
        from airflow.sdk import BaseHook

        connection = BaseHook.get_connection(balancer.connection)
        extra: dict[str, Any] = connection.extra_dejson
        path = extra.get("socket")
        return cls(balancer, str(path) if path else (str(connection.host), int(connection.port or 0)))

    @property
    def name(self) -> str:
        return self.balancer.name

    def servers(self) -> list[ServerView]:
        """Every server of the fleet's backend, as this balancer sees it now. Raises UnreachableError."""
        reply = self._ask("show stat")
        if not reply.startswith("# "):
            raise self._unreachable(f"it answered {reply.strip()[:120]!r} to `show stat`")
        rows = csv.DictReader(io.StringIO(reply.removeprefix("# ")))
        views = [
            ServerView(
                balancer=self.name,
                server=row["svname"],
                status=row["status"],
                sessions=int(row["scur"] or 0),
                queued=int(row["qcur"] or 0),
                check=row.get("check_status") or "",
                address=row.get("addr") or "",
            )
            for row in rows
            if row["pxname"] == self.balancer.backend and row["svname"] not in ("BACKEND", "FRONTEND")
        ]
        if not views:
            raise self._unreachable(f"it has no backend {self.balancer.backend!r} with servers")
        return views

    def set_state(self, server: str, state: Admin) -> None:
        """Set a server's administrative state. Setting the state it is in already changes nothing.

        Raises VerifyError with HAProxy's own words when it refuses, UnreachableError when it cannot be asked.
        """
        reply = self._ask(f"set server {self.balancer.backend}/{server} state {state.value}").strip()
        if reply:
            raise VerifyError(
                f"balancer {self.name} refused state {state.value} for {server}: {reply!r}.",
                expected="an empty reply, which means that it was set.",
                safe="the server's state on this balancer is as before.",
                next_step="check the server's name there and that the socket is of level admin, then clear this task.",
            )

    def refusal_of_admin(self) -> str | None:
        """Why this socket may not change anything, or None. It asks with a change that cannot apply to any server."""
        reply = self._ask(f"set server {self.balancer.backend}/ state ready").strip()
        return reply if "permission" in reply.lower() else None

    def _ask(self, command: str) -> str:
        try:
            with self._connect() as connection:
                connection.sendall(f"{command}\n".encode())
                chunks = []
                while chunk := connection.recv(65_536):
                    chunks.append(chunk)
        except OSError as error:
            raise self._unreachable(str(error)) from error
        return b"".join(chunks).decode(errors="replace")

    def _connect(self) -> socket.socket:
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout=TIMEOUT_SECONDS)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(self.address)
        return connection

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"balancer {self.name} cannot be asked: {why}.",
            expected="an answer from every balancer, before and while a node is out.",
            safe="no state was changed by this question.",
            next_step="bring the balancer or its runtime socket back, then clear this task.",
        )
