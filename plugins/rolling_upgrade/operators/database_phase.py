"""Expand, migrate and contract: each runs once, on the new node, by the new release's own tool."""

from __future__ import annotations

from typing import Any, ClassVar

from rolling_upgrade.decisions.backups import why_too_old
from rolling_upgrade.decisions.phases import MIGRATION_COMPLETE, Phase, UnitAction, unit_action
from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.evidence.record import Record, now, read, record
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.hooks.contract_mark import forget_contract, mark_contract
from rolling_upgrade.hooks.database import DatabaseHook, rows_left, service_login
from rolling_upgrade.hooks.dump_lock import no_dump_runs
from rolling_upgrade.hooks.fleet_proof import why_old_services_may_remain
from rolling_upgrade.hooks.log_bin_trust import allow, put_back_if_idle, put_back_on_failure
from rolling_upgrade.hooks.phase import RemotePhase, refuse_running_phase, schema_state
from rolling_upgrade.operators.check_database import refuse_contract, refuse_expand
from rolling_upgrade.operators.step import NodeOperator, NodeStep
from rolling_upgrade.services.configuration import phase_configuration, render

BACKUP_TASK = "backup_database"


class DatabasePhaseOperator(NodeOperator):
    """Start the phase's unit, or leave the one that runs; a wait in the triggerer sees it end.

    Precheck reads the schema's revisions, and that no phase is at work on any node.
    """

    phase: ClassVar[Phase]
    makes_triggers: ClassVar[bool] = True
    """It makes or drops triggers, for which the server may have to trust their creators meanwhile."""

    def precheck(self, step: NodeStep, context: Any) -> None:
        """Raise PrecheckError when the phase must not begin."""

    def step(self, step: NodeStep, context: Any) -> Record:
        remote = RemotePhase(step.ssh, step.profile, step.release, self.phase)
        unit = remote.state()
        action = unit_action(unit, phase_done=self._done(step))
        if action is UnitAction.DONE:
            if unit.failed:
                # Killed after its work was done. The wait that follows must not read it as this try's end.
                remote.forget()
            # A try that died may have left the server trusting.
            put_back_if_idle(step.fleet, step.profile, self.log)
            return record(f"nothing to {self.phase.value}: the schema is there already", changed=False)
        if action is UnitAction.ATTACH:
            return record(f"{self.phase.value} is under way already as {remote.unit}", changed=False, unit=remote.unit)
        with put_back_on_failure(step.fleet, step.profile, self.log):
            refuse_running_phase(step.fleet, step.profile)
            self.precheck(step, context)
            if action is UnitAction.START_OVER:
                self.log.info("an earlier try of %s ended; it is started again", remote.unit)
                remote.forget()
            _configure(step)
            with no_dump_runs(step.fleet.database):
                if self.makes_triggers and (said := allow(step.fleet)):
                    self.log.info("%s", said)
                self.begins(step)
                remote.start()
        return record(f"{self.phase.value} is under way as {remote.unit}", changed=True, unit=remote.unit)

    def begins(self, step: NodeStep) -> None:
        """What must be on record before the phase begins."""

    def _done(self, step: NodeStep) -> bool:
        heads = load_catalogue().release(step.release).heads
        return heads.phase_is_done(self.phase, DatabaseHook(step.fleet.database).heads())


def _configure(step: NodeStep) -> None:
    """Give the phases their configuration, which bounds how long they keep users waiting for a lock."""
    text = render(
        step.fleet, step.node, step.release, service_login(step.fleet.database), service_port=step.profile.port
    )
    step.ssh.write(
        step.profile.phase_configuration_file(step.release),
        phase_configuration(text, step.fleet.database.lock_wait_seconds).encode(),
        owner="root",
        group=step.profile.group,
        mode="0640",
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
        refuse_expand(step)

    def begins(self, step: NodeStep) -> None:
        forget_contract(step.fleet.database)  # of an upgrade before


class MigrateOperator(DatabasePhaseOperator):
    """``db migrate``: starts the data migration; ``migration_complete`` waits for its end.

    It runs in every upgrade: repeated, it finds nothing to do, and no revision tells whether it has run.
    """

    phase = Phase.MIGRATE
    makes_triggers = False

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
        refuse_contract(step)
        _refuse_unmigrated(step)

    def begins(self, step: NodeStep) -> None:
        mark_contract(step.fleet.database, step.release)


def _refuse_unmigrated(step: NodeStep) -> None:
    """Raise PrecheckError while rows are to be migrated, also such as an old service wrote after the migration."""
    state = schema_state(step.ssh, step.profile, step.release)
    left = rows_left(step.fleet.database, step.profile.rows_left)
    if left or state not in MIGRATION_COMPLETE:
        raise PrecheckError(
            f"the data migration is not complete: db check says {state.value} ({state.name.lower()})"
            + f", {left} rows are left" * bool(left)
            + ".",
            expected="db check 5 (contract needed) or 0 (current), and no row left to move.",
            safe="the schema was not changed; old and new services work with it.",
            next_step="clear migrate: it moves what is left, and this task follows it.",
        )
