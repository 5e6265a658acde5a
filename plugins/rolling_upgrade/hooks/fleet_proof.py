"""Is an old service left anywhere? Asks every node, every balancer and the database."""

from __future__ import annotations

from rolling_upgrade.decisions.proof import unknown_servers, unknown_sessions, why_old_may_remain
from rolling_upgrade.errors import RollingUpgradeError
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.database import DatabaseHook, service_login
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.services.profile import ServiceProfile


def why_old_services_may_remain(fleet: Fleet, profile: ServiceProfile, release: str) -> list[str]:
    """Reasons against contract; empty when every node is proven and nothing unknown reaches the database.

    What cannot be asked is a reason too: not proven is no.
    """
    reasons: list[str] = []
    for node in fleet.nodes:
        try:
            view = NodeHook.from_connection(node).observe(profile)
            reasons.extend(f"{node.name}: {reason}" for reason in why_old_may_remain(view, release))
        except RollingUpgradeError as error:
            reasons.append(f"{node.name}: not proven; {error.found}")
    try:
        known = {node.server_name: node.address for node in fleet.nodes}
        reasons.extend(unknown_servers(Balancers.from_connections(fleet).views(), known, profile.port))
    except RollingUpgradeError as error:
        reasons.append(f"balancers: {error.found}")
    try:
        hosts = DatabaseHook(fleet.database).session_hosts(service_login(fleet.database).login)
        reasons.extend(unknown_sessions(hosts, [n.address for n in fleet.nodes] + list(fleet.node_names)))
    except RollingUpgradeError as error:
        reasons.append(f"database: {error.found}")
    return reasons
