"""Giving a node back to users after a failure that came before its service was stopped."""

from __future__ import annotations

import logging

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import RollingUpgradeError
from rolling_upgrade.fleet.inventory import Fleet, Node
from rolling_upgrade.hooks.answers import why_wrong
from rolling_upgrade.hooks.balancer import Admin, BalancerHook
from rolling_upgrade.hooks.claims import other_holder
from rolling_upgrade.services.registry import profile_of

log = logging.getLogger(__name__)


def put_back(fleet: Fleet, node: Node, me: Holder) -> str:
    """Set the node ready on every balancer that can be told; returns what was done, for the message.

    A node that does not answer is left out: it may have been stopped, by a step whose own answer was lost. A fleet that
    another run holds is left alone. Never raises.
    """
    if holder := _other(fleet, me):
        return f"left as it is: fleet {fleet.name} is held by {holder}"
    profile = profile_of(fleet.service)
    silent = [why for probe in profile.probes[:1] if (why := why_wrong(node, profile.port, probe))]
    if silent:
        return f"left out of rotation, since it serves nobody: {silent[0]}"
    back, not_back = [], []
    for balancer in fleet.balancers:
        try:
            _ready(BalancerHook.from_connection(balancer), node.server_name)
            back.append(balancer.name)
        except RollingUpgradeError as error:
            not_back.append(f"{balancer.name} ({error.found})")
    parts = [f"put back into rotation on {', '.join(back)}"] if back else []
    parts += [f"NOT put back on {'; '.join(not_back)}: set it ready there by hand"] if not_back else []
    return ", ".join(parts)


def _other(fleet: Fleet, me: Holder) -> Holder | None:
    """The run that holds the fleet beside this one. A database that does not answer keeps no node out of rotation."""
    try:
        return other_holder(fleet, me)
    except RollingUpgradeError as error:
        log.warning("not known whether another run holds the fleet: %s", error.found)
        return None


def _ready(hook: BalancerHook, server: str) -> None:
    """Back into rotation; out of maintenance only once new checks have passed, in case the node died meanwhile."""
    if any(view.server == server and view.rotation is Rotation.MAINTENANCE for view in hook.servers()):
        hook.set_state(server, Admin.DRAIN)
        hook.forget_health(server)
    hook.set_state(server, Admin.READY)
