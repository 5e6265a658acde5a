"""HAProxy through its runtime API: ask and set the rotation state of a server.

HAProxy answers with text and has no exit status: an empty reply to a change is success, anything else is its error.
Source: HAProxy management guide, "Unix Socket commands".
"""

from __future__ import annotations

import csv
import io
import re
import socket
from enum import Enum
from typing import Any

from rolling_upgrade.decisions.drain import OpenSession
from rolling_upgrade.decisions.rotation import Errors, ServerView
from rolling_upgrade.errors import UnreachableError, VerifyError
from rolling_upgrade.fleet.inventory import Balancer
from rolling_upgrade.hooks.connections import usable

TIMEOUT_SECONDS = 5.0
DRAIN_BITS = 0x08 | 0x10
"""In ``srv_admin_state``: drain set on the server itself, or taken over from one that it tracks."""


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

        with usable(balancer.connection):
            connection = BaseHook.get_connection(balancer.connection)
            extra: dict[str, Any] = connection.extra_dejson
            path = extra.get("socket")
            return cls(balancer, str(path) if path else (str(connection.host), int(connection.port or 0)))

    @property
    def name(self) -> str:
        return self.balancer.name

    def servers(self) -> list[ServerView]:
        """Every server of the fleet's backend, as this balancer sees it now. Raises UnreachableError."""
        # Both in one question, so that they tell of one moment.
        reply = self._ask(f"show stat; show servers state {self.balancer.backend}")
        statistics, _, states = reply.partition("\n\n")
        if not statistics.startswith("# "):
            raise self._unreachable(f"it answered {reply.strip()[:120]!r} to `show stat`")
        draining = _draining_servers(states)
        rows = csv.DictReader(io.StringIO(statistics.removeprefix("# ")))
        views = [
            ServerView(
                balancer=self.name,
                server=row["svname"],
                status=row["status"],
                sessions=int(row["scur"] or 0),
                queued=int(row["qcur"] or 0),
                check=row.get("check_status") or "",
                address=row.get("addr") or "",
                draining=row["svname"] in draining,
                errors=Errors(
                    connections=int(row.get("econ") or 0),
                    responses=int(row.get("eresp") or 0),
                    http_5xx=int(row.get("hrsp_5xx") or 0),
                ),
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
        self._tell(f"set server {self.balancer.backend}/{server} state {state.value}", server)

    def _tell(self, command: str, server: str) -> None:
        reply = self._ask(command).strip()
        if reply:
            raise VerifyError(
                f"balancer {self.name} refused `{command}`: {reply!r}.",
                expected="an empty reply, which means that it was set.",
                safe=f"the state of {server} on this balancer is as before.",
                next_step="check the server's name there and that the socket is of level admin, then clear this task.",
            )

    def forget_health(self, server: str) -> None:
        """Count the server as DOWN until new checks have passed.

        After maintenance HAProxy takes up the result of the last check before it, and nothing it shows tells that
        from a new one. Raises VerifyError and UnreachableError as ``set_state``.
        """
        self._tell(f"set server {self.balancer.backend}/{server} health down", server)

    def sessions(self, server: str) -> list[OpenSession]:
        """What is open through this balancer to the server now, the oldest first. Raises UnreachableError."""
        lines = self._ask("show sess").splitlines()
        found = (parse_session(self.name, line) for line in lines if f" be={self.balancer.backend} " in line)
        mine = [session for session in found if session and session.server == server]
        return sorted(mine, key=lambda session: -session.age_seconds)

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
            safe="a question changes no state; a change that got no answer is looked at again by the next try.",
            next_step="bring the balancer or its runtime socket back, then clear this task.",
        )


_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def parse_session(balancer: str, line: str) -> OpenSession | None:
    """One line of ``show sess``; None for one that does not tell source, server and age.

    An age looks like ``7s``, ``2m7s`` or ``1d2h`` (HAProxy management guide, "show sess").
    """
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if not {"src", "srv", "age"} <= words.keys():
        return None
    age = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([dhms])", words["age"]))
    return OpenSession(balancer, words["srv"], words["src"], age)


def _draining_servers(states: str) -> set[str]:
    """Servers with a drain set, from ``show servers state``; the status of one that is DOWN as well does not tell."""
    lines = states.splitlines()
    header = next((line.removeprefix("# ").split() for line in lines if line.startswith("# ")), [])
    rows = (dict(zip(header, line.split(), strict=False)) for line in lines if line[:1] not in ("", "#"))
    return {row["srv_name"] for row in rows if int(row.get("srv_admin_state", "0")) & DRAIN_BITS}
