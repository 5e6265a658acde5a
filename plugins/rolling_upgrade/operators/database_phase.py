"""Expand, migrate and contract: each runs once, on the new node, by the new release's own tool."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from rolling_upgrade.decisions.backups import why_too_old
from rolling_upgrade.decisions.phases import Phase, UnitAction, unit_action
from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.evidence.record import Record, now, read, record
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.dump_lock import no_dump_runs
from rolling_upgrade.hooks.fleet_proof import why_old_services_may_remain
from rolling_upgrade.hooks.phase import RemotePhase, refuse_running_phase
from rolling_upgrade.operators.step import NodeOperator, NodeStep

BACKUP_TASK = "backup_database"
POLL_SECONDS = 0.5
PHASE_SECONDS = 4 * 3600.0


class DatabasePhaseOperator(NodeOperator):
    """Start the phase's unit, or attach to the one that runs, and see it end well.

    Precheck and verify read the schema's revisions. ``waits`` is False where a sensor waits for the end.
    """

    phase: ClassVar[Phase]
    waits: ClassVar[bool] = True

    def precheck(self, step: NodeStep, context: Any) -> None:
        """Raise PrecheckError when the phase must not begin."""

    def step(self, step: NodeStep, context: Any) -> Record:
        remote = RemotePhase(step.ssh, step.profile, step.release, self.phase)
        action = unit_action(remote.state(), phase_done=self._done(step))
        if action is UnitAction.DONE:
            return record(f"nothing to {self.phase.value}: the schema is there already", changed=False)
        if action is not UnitAction.ATTACH:
            refuse_running_phase(step.fleet, step.profile)
            self.precheck(step, context)
            if action is UnitAction.START_OVER:
                self.log.info("an earlier try of %s ended; it is started again", remote.unit)
                remote.forget()
            with no_dump_runs(step.fleet.database):
                remote.start()
        self.log.info("%s runs as unit %s", self.phase.value, remote.unit)
        if not self.waits:
            return record(f"{self.phase.value} is under way as {remote.unit}", changed=True, unit=remote.unit)
        self._wait(step, remote)
        return record(f"{self.phase.value} has run", changed=True, unit=remote.unit)

    def _done(self, step: NodeStep) -> bool:
        heads = load_catalogue().release(step.release).heads
        return heads.phase_is_done(self.phase, DatabaseHook(step.fleet.database).heads())

    def _wait(self, step: NodeStep, remote: RemotePhase) -> None:
        deadline = time.monotonic() + PHASE_SECONDS
        while (state := remote.state()).running:
            if time.monotonic() > deadline:
                raise VerifyError(
                    f"{remote.unit} still runs on {step.node.name} after {PHASE_SECONDS:.0f} s.",
                    expected="its end.",
                    safe="it goes on by itself; no later step has begun.",
                    next_step="clear this task: it attaches to the running unit and waits again.",
                )
            time.sleep(POLL_SECONDS)
        for line in remote.output().splitlines():
            self.log.info("%s", line)
        if not state.succeeded or not self._done(step):
            raise VerifyError(
                f"{self.phase.value} ended with {state.result}, status {state.exit_status}; the schema is at "
                f"{', '.join(DatabaseHook(step.fleet.database).heads()) or 'no revision'}.",
                expected="status 0 and the release's revision in the database.",
                safe="nodes that serve go on serving; no later step has begun.",
                next_step=f"read the output above (`journalctl -u {remote.unit}` on {step.node.name}), mend the "
                "cause, then clear this task: it starts the phase again.",
            )


class ExpandOperator(DatabasePhaseOperator):
    """``db expand``: adds what the new release needs; old services do not notice. Begins only after the backup."""

    phase = Phase.EXPAND

    def precheck(self, step: NodeStep, context: Any) -> None:
        backup = read(context["ti"].xcom_pull(task_ids=BACKUP_TASK, map_indexes=None))
        hours = step.fleet.backup.max_age_hours
        why = why_too_old(backup.get("begun"), hours, now()) if backup else "no backup of the database is recorded"
        if why:
            raise PrecheckError(
                f"{why} in this run.",
                expected=f"backup_database to have ended well before the schema changes, no more than {hours:g} h ago.",
                safe="the schema was not changed.",
                next_step="clear backup_database; this task follows it.",
            )


class MigrateOperator(DatabasePhaseOperator):
    """``db migrate``: starts the data migration; ``migration_complete`` waits for its end.

    It runs in every upgrade: repeated, it finds nothing to do, and no revision tells whether it has run.
    """

    phase = Phase.MIGRATE
    waits = False

    def precheck(self, step: NodeStep, context: Any) -> None:
        heads = load_catalogue().release(step.release).heads
        found = DatabaseHook(step.fleet.database).heads()
        if not heads.phase_is_done(Phase.EXPAND, found):
            raise PrecheckError(
                f"the schema is at {', '.join(found) or 'no revision'}.",
                expected=f"revision {heads.expanded}: expand first.",
                safe="no data was migrated.",
                next_step="clear expand; this task follows it.",
            )

    def _done(self, step: NodeStep) -> bool:
        heads = load_catalogue().release(step.release).heads
        return heads.contracted in DatabaseHook(step.fleet.database).heads()


class ContractOperator(DatabasePhaseOperator):
    """``db contract``: removes what only the old release needed. It asks for the proof once more, itself."""

    phase = Phase.CONTRACT

    def precheck(self, step: NodeStep, context: Any) -> None:
        reasons = why_old_services_may_remain(step.fleet, step.profile, step.release)
        if reasons:
            raise PrecheckError(
                "an old service may be left: " + "; ".join(reasons) + ".",
                expected=f"every node proven to run {step.release}, and no unknown session on the database.",
                safe="the schema was not changed; old and new services work with it.",
                next_step="end or upgrade what is named, then clear no_old_services; this task follows it.",
            )
