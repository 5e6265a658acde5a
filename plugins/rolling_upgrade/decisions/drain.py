"""When is a node drained? Pure.

The order comes from how HAProxy behaves: after ``drain`` its pooled idle connections to the node stay open, so
sockets on the node say nothing yet; ``maint`` closes them, but must wait until nothing is in flight anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rolling_upgrade.decisions.rotation import Rotation, ServerView

LISTED = 10
"""How many open sessions a message names; an operator reads it at night."""
QUIET_OBSERVATIONS = 2
"""How many observations in a row without an established connection on the node count as drained."""


class DrainAction(Enum):
    """What a poll of a drain calls for."""

    DRAIN_AGAIN = "a balancer lost the drain: set it again"
    WAIT = "requests are in flight"
    ENTER_MAINTENANCE = "nothing in flight on any balancer: close pooled connections"
    COUNT_SOCKETS = "count the node's own connections"


@dataclass(frozen=True)
class OpenSession:
    """A client that is being served by a server through a balancer."""

    balancer: str
    server: str
    source: str
    """Address and port of the client, as the balancer sees it."""
    age_seconds: int

    def __str__(self) -> str:
        return f"{self.source} for {self.age_seconds} s through {self.balancer}"


def describe_sessions(sessions: Sequence[OpenSession]) -> str:
    """The sessions for a message: how many, and the oldest ones with where they come from and since when."""
    if not sessions:
        return "no open session is listed by a balancer"
    oldest = sorted(sessions, key=lambda session: -session.age_seconds)[:LISTED]
    more = f", and {len(sessions) - LISTED} younger ones" if len(sessions) > LISTED else ""
    return f"{len(sessions)} open: " + "; ".join(map(str, oldest)) + more


@dataclass(frozen=True)
class DrainProgress:
    """How far a drain is."""

    action: DrainAction
    open_requests: int
    """In service or queued, on all balancers together."""
    lost_on: tuple[str, ...] = ()
    """Balancers that send new requests to the node, or would as soon as it passes their checks."""


def next_action(views: Sequence[ServerView]) -> DrainProgress:
    """What to do next with a node that is being drained, from the views of all balancers.

    The caller has made sure that every balancer answered.
    """
    open_requests = sum(view.open_requests for view in views)
    lost = tuple(view.balancer for view in views if not view.rotation.is_out)
    if lost:
        return DrainProgress(DrainAction.DRAIN_AGAIN, open_requests, lost)
    if open_requests:
        return DrainProgress(DrainAction.WAIT, open_requests)
    if any(view.rotation is not Rotation.MAINTENANCE for view in views):
        return DrainProgress(DrainAction.ENTER_MAINTENANCE, 0)
    return DrainProgress(DrainAction.COUNT_SOCKETS, 0)


def is_quiet(established: Sequence[int]) -> bool:
    """True when the newest counts of established connections on the node are 0 often enough in a row."""
    newest = established[-QUIET_OBSERVATIONS:]
    return len(newest) == QUIET_OBSERVATIONS and not any(newest)
