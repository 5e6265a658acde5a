"""Giving up on what is still open to a node, because the operator chose to."""

from __future__ import annotations

from collections.abc import Sequence

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, now, record
from rolling_upgrade.fleet.inventory import Fleet, Node
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import hold
from rolling_upgrade.hooks.sessions import open_sessions


def cut(fleet: Fleet, node: Node, me: Holder, *, by: str, progress: Sequence[tuple[float, int]] = ()) -> Record:
    """Set maintenance on every balancer, so that nothing new comes, and record who gave up what is still open.

    The stop of the service that follows is what ends it. Raises UnreachableError, HeldError when another run holds the
    fleet, and VerifyError when a balancer does not show the maintenance.
    """
    hold(fleet, me)
    sessions, said = open_sessions(fleet, node)
    balancers = Balancers.from_connections(fleet)
    balancers.set_where(node.server_name, Admin.MAINT, lambda view: view.rotation is not Rotation.MAINTENANCE)
    views = balancers.views_of(node.server_name)
    if any(view.rotation is not Rotation.MAINTENANCE for view in views):
        raise VerifyError(
            f"{node.name} is not in maintenance everywhere: " + "; ".join(map(str, views)) + ".",
            expected="maintenance on every balancer before anything is cut.",
            safe="nothing was cut.",
            next_step="see who else changes the server's state, then clear take_out of this node.",
        )
    return record(
        f"not drained, and cut by choice of {by}: {said}",
        changed=True,
        cut={"by": by, "at": now(), "open": [str(session) for session in sessions]},
        progress=list(progress),
    )
