"""Wait until a node answers correctly on the new release, to us and to every balancer."""

from __future__ import annotations

import http.client

from rolling_upgrade.decisions.proof import NodeView, why_not_proven
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.services.profile import HttpProbe
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger

HEALTHY_SECONDS = 180.0
"""How long a node may take from start to its first correct answers."""
PROBE_SECONDS = 10.0


class HealthyTrigger(WaitTrigger):
    """Proven new by its processes, correct over HTTP on the node's own address, and checked well by each balancer."""

    poll_seconds = 0.5

    def poll(self, wait: Wait) -> Record | None:
        reasons = why_not_healthy(wait)
        if not reasons:
            return record(f"answers correctly on {wait.release} after {wait.elapsed:.1f} s", changed=False)
        self.say("not yet: " + "; ".join(reasons))
        if wait.elapsed > HEALTHY_SECONDS:
            raise VerifyError(
                f"{wait.node.name} is not healthy after {HEALTHY_SECONDS:.0f} s: " + "; ".join(reasons) + ".",
                expected=f"correct answers on {wait.release}, and checks passed on every balancer.",
                safe="the node is out of rotation; the other nodes serve; the next node does not begin.",
                next_step=f"read `journalctl -u {wait.profile.unit}` on {wait.node.name}, mend it, then clear start.",
            )
        return None

    def gives_up(self, wait: Wait) -> bool:
        return wait.elapsed > HEALTHY_SECONDS


def why_not_healthy(wait: Wait) -> list[str]:
    """Reasons for which the node must not get requests yet; empty when it may."""
    # The cheap questions first: a node that does not answer over HTTP yet need not be asked for its processes.
    reasons = [reason for probe in wait.profile.probes if (reason := why_wrong(wait, probe))]
    if reasons:
        return reasons
    reasons = [
        f"{view.balancer} says {view.status}, check {view.check or 'not done'}"
        for view in Balancers.from_connections(wait.fleet).views_of(wait.node.server_name)
        if not view.check_passed or view.rotation in (Rotation.MAINTENANCE, Rotation.DOWN)
    ]
    node: NodeView = NodeHook.from_connection(wait.node).observe(wait.profile)
    return reasons + why_not_proven(node, wait.release)


def why_wrong(wait: Wait, probe: HttpProbe) -> str | None:
    """Why the node's answer to this probe is not correct, or None."""
    connection = http.client.HTTPConnection(wait.node.address, wait.profile.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", probe.path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(65_536).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{probe.path} gives no answer ({error or type(error).__name__})"
    finally:
        connection.close()
    if response.status not in probe.statuses:
        return f"{probe.path} answers {response.status}"
    if response.status == http.client.OK and probe.contains not in body:
        return f"{probe.path} answers without {probe.contains!r}"
    return None
