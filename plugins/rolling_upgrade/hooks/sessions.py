"""What is open to a node through its balancers, for those who must decide about it."""

from __future__ import annotations

from rolling_upgrade.decisions.drain import OpenSession, describe_sessions
from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet.inventory import Fleet, Node
from rolling_upgrade.hooks.balancers import Balancers


def open_sessions(fleet: Fleet, node: Node) -> tuple[list[OpenSession], str]:
    """The open sessions, and the same in words; a balancer that cannot be asked is named there. Never raises."""
    sessions: list[OpenSession] = []
    silent = []
    for hook in Balancers.from_connections(fleet).hooks:
        try:
            sessions += hook.sessions(node.server_name)
        except UnreachableError as error:
            silent.append(error.found.rstrip("."))
    return sessions, "; ".join([describe_sessions(sessions), *silent])
