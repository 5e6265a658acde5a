"""Wait for the proof that no old service remains anywhere."""

from __future__ import annotations

from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.fleet_proof import why_old_services_may_remain
from rolling_upgrade.triggers.waiting import Skip, Wait, WaitTrigger

PROOF_SECONDS = 120.0
"""How long closing sessions and ending processes may keep the proof waiting."""


class NoOldServicesTrigger(WaitTrigger):
    """Every node of the fleet proven new; no unknown server on a balancer, no unknown session on the database.

    Skips, and contract with it, when the run leaves nodes on another release or contract to a later run, by choice.
    """

    poll_seconds = 2.0

    def poll(self, wait: Wait) -> Record | Skip | None:
        if wait.plan.why_no_contract:
            return Skip(f"no contract in this run: {wait.plan.why_no_contract}. A later run over the fleet contracts.")
        reasons = why_old_services_may_remain(wait.fleet, wait.profile, wait.release)
        if not reasons:
            return record(
                f"every node runs {wait.release} and nothing else", changed=False, nodes=list(wait.fleet.node_names)
            )
        self.say("not proven: " + "; ".join(reasons))
        if wait.elapsed > PROOF_SECONDS:
            raise VerifyError(
                "it is not proven that no old service remains: " + "; ".join(reasons) + ".",
                expected=f"every process on every node of {wait.release}, and nothing unknown on the database.",
                safe="the schema still serves old and new services; contract has not begun.",
                next_step="end or upgrade what is named, then clear this task; contract follows it.",
            )
        return None
