"""A person's word before contract: after it the old release cannot come back without a restore."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from rolling_upgrade import alerts
from rolling_upgrade.evidence.record import Record, read, record
from rolling_upgrade.fleet.inventory import load_named
from rolling_upgrade.operators.step import plan_of

ANSWER = "answer"
"""Key of the XCom that holds what a person said."""
BACKUP_TASK, PROOF_TASK = "backup_database", "no_old_services"


class ApproveContractOperator(ApprovalOperator):
    """Asks whether to contract, and shows the proof and the backup. No answer in time counts as Reject.

    Rejected, the run ends without contract, and a later run may contract. A run that was told ``contract: now`` asks
    nobody. It waits ``hours`` for an answer.
    """

    def __init__(self, *, fleet: str, hours: int, **kwargs: Any) -> None:
        super().__init__(
            subject=f"Contract the database of fleet {fleet}?",
            response_timeout=timedelta(hours=hours),
            defaults=self.REJECT,
            **kwargs,
        )
        self.fleet = fleet
        self.hours = hours

    def execute(self, context: Any) -> Any:
        plan = plan_of(context)
        if plan.contract == "now":
            return record("the run was told to contract without asking", changed=False)
        ti = context["ti"]
        proof, backup = (read(ti.xcom_pull(task_ids=task)) or {} for task in (PROOF_TASK, BACKUP_TASK))
        self.body = body(plan.target_release, proof, backup)
        fleet = load_named(self.fleet)
        alerts.send(fleet, alerts.about(fleet.name, ti, alerts.What.HOLDS, f"{self.subject}\n\n{self.body}"))
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """A record of who approved, or rejected; the latter skips contract. XCom ``answer`` keeps it in both cases."""
        user = event.get("responded_by_user") or {}
        by = str(user.get("name") or user.get("id") or "nobody: the time was over")
        did = "approved" if event.get("chosen_options") == [self.APPROVE] else "rejected"
        self.log.info("contract %s by %s", did, by)
        answer = {**record(did, changed=False), "by": by}
        context["ti"].xcom_push(key=ANSWER, value=answer)
        super().execute_complete(context, event)
        return answer


def body(release: str, proof: Record, backup: Record) -> str:
    """What the person sees."""
    return (
        f"After contract the fleet cannot go back to the release before {release} without restoring the database.\n\n"
        f"- Proof at {proof.get('at', 'no time on record')}: {proof.get('did', 'none on record')} "
        f"({', '.join(proof.get('nodes', []))}). Contract asks for the proof once more before it begins.\n"
        f"- Backup at {backup.get('at', 'no time on record')}: {backup.get('path', 'none on record')}, "
        f"{backup.get('bytes', '?')} bytes, SHA-256 {backup.get('sha256', '?')}\n\n"
        "Reject ends this run without contract; the schema serves both releases, and a later run may contract."
    )
