"""Wait until a node answers correctly on the new release, to us and to every balancer."""

from __future__ import annotations

from typing import Any

from rolling_upgrade.decisions.proof import NodeView, why_not_proven
from rolling_upgrade.decisions.restarts import crash_loops, why_not_steady
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.answers import why_wrong
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.keystone import KeystoneHook
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.services.image_probe import try_image
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger

HEALTHY_SECONDS = 180.0
"""How long a node may take from start to its first correct answers."""

_NOT_TRIED = "; it was not tried with an image: it wants a token, and the fleet file names no health.credentials"


class HealthyTrigger(WaitTrigger):
    """Proven new by its processes, steady, correct over HTTP on the node's own address, checked well by each balancer.

    An image service is also tried with an image. A unit that crash-loops ends the wait at once.
    """

    poll_seconds = 0.5

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._restarts: int | None = None
        self._keystone: KeystoneHook | None = None
        self._left_out = ""

    def poll(self, wait: Wait) -> Record | None:
        reasons = self.why_not_healthy(wait)
        if not reasons:
            did = f"answers correctly on {wait.release} after {wait.elapsed:.1f} s{self._left_out}"
            return record(did, changed=False)
        self.say("not yet: " + "; ".join(reasons))
        if wait.elapsed > HEALTHY_SECONDS:
            raise _unhealthy(wait, f"is not healthy after {HEALTHY_SECONDS:.0f} s: " + "; ".join(reasons) + ".")
        return None

    def gives_up(self, wait: Wait) -> bool:
        return wait.elapsed > HEALTHY_SECONDS

    def why_not_healthy(self, wait: Wait) -> list[str]:
        """Reasons for which the node must not get requests yet; empty when it may."""
        # The cheap questions first: a node that does not answer over HTTP yet is asked only whether it crashes.
        reasons = [
            reason for probe in wait.profile.probes if (reason := why_wrong(wait.node, wait.profile.port, probe))
        ]
        reasons += [] if reasons else _about_balancers(wait)
        node: NodeView = NodeHook.from_connection(wait.node).observe(wait.profile)
        if crash_loops(node.active_state, node.restarts):
            raise _unhealthy(
                wait, f"crash-loops: its unit is {node.active_state}, restarted {node.restarts} times by systemd."
            )
        restarted = why_not_steady(self._restarts, node.restarts)
        self._restarts = node.restarts
        reasons += [restarted] if restarted else []
        reasons += why_not_proven(node, wait.release)
        if not reasons and wait.profile.image_api and wait.fleet.health.image:
            failed = self.why_image_fails(wait)
            reasons += [failed] if failed else []
        return reasons

    def why_image_fails(self, wait: Wait) -> str | None:
        """Why the node cannot be tried with an image, or what it does wrong with one; None when all is well."""
        token, credentials = None, wait.fleet.health.credentials
        if credentials:
            self._keystone = self._keystone or KeystoneHook(credentials)
            try:
                token = self._keystone.token()
            except (PrecheckError, UnreachableError) as error:
                return error.found.removesuffix(".")
        trial = try_image(wait.node.name, wait.node.address, wait.profile.port, token)
        self._left_out = "" if trial.tried else _NOT_TRIED
        return trial.failure


def _unhealthy(wait: Wait, found: str) -> VerifyError:
    return VerifyError(
        f"{wait.node.name} {found}",
        expected=f"correct answers on {wait.release}, and checks passed on every balancer.",
        safe="the node is out of rotation; the other nodes serve; the next node does not begin.",
        next_step=f"read `journalctl -u {wait.profile.unit}` on {wait.node.name}, mend it, then clear start of this "
        "node with what follows it.",
    )


def _about_balancers(wait: Wait) -> list[str]:
    return [
        f"{view.balancer} says {view.status}, check {view.check or 'not done'}"
        for view in Balancers.from_connections(wait.fleet).views_of(wait.node.server_name)
        if not view.check_passed or view.rotation in (Rotation.MAINTENANCE, Rotation.DOWN)
    ]
