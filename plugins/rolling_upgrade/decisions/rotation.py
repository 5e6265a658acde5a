"""What the balancers say about a server, and what follows from it. Pure: plain data in, a decision out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Rotation(Enum):
    """Where a server stands with one balancer."""

    IN = "in rotation"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"
    DOWN = "down"
    UNCHECKED = "not health-checked"

    @property
    def takes_new_requests(self) -> bool:
        return self in (Rotation.IN, Rotation.UNCHECKED)

    @property
    def is_out(self) -> bool:
        """Taken out by somebody. DOWN is not: the server takes requests again as soon as its checks pass."""
        return self in (Rotation.DRAINING, Rotation.MAINTENANCE)


@dataclass(frozen=True)
class Errors:
    """Errors of one server that one balancer has counted since it was started."""

    connections: int = 0
    """Connections to the server that failed (``econ``)."""
    responses: int = 0
    """Answers that broke or could not be understood (``eresp``)."""
    http_5xx: int = 0
    """Answers of the server with a status of 500 or more (``hrsp_5xx``)."""

    @property
    def total(self) -> int:
        return self.connections + self.responses + self.http_5xx

    def __str__(self) -> str:
        return f"{self.http_5xx} answers of 5xx, {self.connections} failed connections, {self.responses} broken answers"


@dataclass(frozen=True)
class ServerView:
    """One server as one balancer sees it.

    ``status`` is HAProxy's own word; it may carry a suffix, such as ``DRAIN 1/2`` or ``UP 1/3``.
    """

    balancer: str
    server: str
    status: str
    sessions: int
    """Sessions that are being served now (``scur``)."""
    queued: int
    """Requests that wait for this server (``qcur``)."""
    check: str = ""
    """Result of the last health check, such as ``L7OK``; empty while none has ended."""
    address: str = ""
    draining: bool = False
    """A drain is set; while the server is DOWN as well, ``status`` does not tell."""
    errors: Errors = Errors()

    @property
    def rotation(self) -> Rotation:
        word = self.status.upper()
        if word.startswith("DRAIN") or (self.draining and word.startswith("DOWN")):
            return Rotation.DRAINING
        if word.startswith("MAINT"):
            return Rotation.MAINTENANCE
        if word.startswith("UP"):
            return Rotation.IN
        if word.startswith("NO CHECK"):
            return Rotation.UNCHECKED
        return Rotation.DOWN

    @property
    def check_passed(self) -> bool:
        # A star in front means that a check is running; what follows is the result before it.
        passed = self.check.lstrip("* ").startswith(("L7OK", "L6OK", "L4OK"))
        return passed and not self.status.upper().startswith("DOWN")

    @property
    def open_requests(self) -> int:
        return self.sessions + self.queued

    def __str__(self) -> str:
        return f"{self.server} on {self.balancer}: {self.status}, {self.sessions} in service, {self.queued} queued"


def views_of(server: str, views: Iterable[ServerView]) -> list[ServerView]:
    """The views of that server, one for each balancer that knows it."""
    return [view for view in views if view.server == server]


def unknown_to(server: str, balancers: Iterable[str], views: Iterable[ServerView]) -> list[str]:
    """Balancers that do not know the server."""
    knows = {view.balancer for view in views if view.server == server}
    return [balancer for balancer in balancers if balancer not in knows]


def why_not_take_out(
    server: str, balancers: Sequence[str], views: Sequence[ServerView], min_in_rotation: int | None
) -> list[str]:
    """Reasons for which the server must stay in rotation now; empty when it may be taken out.

    ``min_in_rotation`` is the number of servers that must stay UP on every balancer without it; None means all
    others, and at least 1. The rule holds for each balancer by itself.
    """
    reasons = [f"{balancer} does not know {server}" for balancer in unknown_to(server, balancers, views)]
    for balancer in balancers:
        others = [view for view in views if view.balancer == balancer and view.server != server]
        up = [view for view in others if view.rotation.takes_new_requests]
        needed = max(1, len(others)) if min_in_rotation is None else max(1, min_in_rotation)
        if len(up) < needed:
            not_up = ", ".join(f"{v.server} {v.status}" for v in others if v not in up) or "no other server there"
            reasons.append(f"{balancer} would keep {len(up)} servers UP, at least {needed} must stay ({not_up})")
        out = [view for view in others if view.rotation.is_out]
        reasons.extend(f"{view.server} is already out on {balancer} ({view.status})" for view in out)
    return reasons


def is_out(server: str, balancers: Iterable[str], views: Iterable[ServerView]) -> bool:
    """True when the server is taken out on every balancer. One that does not know it does not count as out."""
    mine = {view.balancer: view for view in views if view.server == server}
    return all(name in mine and mine[name].rotation.is_out for name in balancers)


def is_in(server: str, balancers: Iterable[str], views: Iterable[ServerView]) -> bool:
    """True when every balancer has the server UP."""
    mine = {view.balancer: view for view in views if view.server == server}
    return all(name in mine and mine[name].rotation is Rotation.IN for name in balancers)
