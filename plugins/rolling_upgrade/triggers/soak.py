"""Watch a node for a while after it came back."""

from __future__ import annotations

from rolling_upgrade.decisions.proof import why_not_proven
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger


class SoakTrigger(WaitTrigger):
    """UP on every balancer at each poll, and proven at the end, for ``soak_seconds`` of the run."""

    def poll(self, wait: Wait) -> Record | None:
        views = Balancers.from_connections(wait.fleet).views_of(wait.node.server_name)
        reasons = [str(view) for view in views if view.rotation is not Rotation.IN]
        over = wait.elapsed >= wait.plan.soak_seconds
        if over and not reasons:
            reasons = why_not_proven(NodeHook.from_connection(wait.node).observe(wait.profile), wait.release)
        if reasons:
            raise VerifyError(
                f"{wait.node.name} did not stay well {wait.elapsed:.0f} s after its return: "
                + "; ".join(reasons)
                + ".",
                expected=f"UP on every balancer and nothing but {wait.release}, for {wait.plan.soak_seconds} s.",
                safe="balancers send requests only to servers whose check passes; the next node does not begin.",
                next_step=f"look at {wait.profile.unit} on {wait.node.name}; then clear healthy of this node.",
            )
        if not over:
            self.say(f"watches for {wait.plan.soak_seconds} s")
            return None
        return record(f"stayed well for {wait.plan.soak_seconds} s", changed=False)
