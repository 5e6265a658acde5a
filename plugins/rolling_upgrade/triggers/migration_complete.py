"""Wait until the data migration has ended well and the new release's own check says so."""

from __future__ import annotations

from typing import Any

from rolling_upgrade.decisions.phases import MIGRATION_COMPLETE, Phase
from rolling_upgrade.decisions.rows_left import Count, describe
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.database import rows_left
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.phase import RemotePhase, schema_state
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger


class MigrationCompleteTrigger(WaitTrigger):
    """The unit of migrate is not running and did not fail, ``db check`` says 5 or 0, and no row is left to move."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._counts: list[Count] = []

    def poll(self, wait: Wait) -> Record | None:
        with NodeHook.from_connection(wait.node).connected() as node:
            remote = RemotePhase(node, wait.profile, wait.release, Phase.MIGRATE)
            unit = remote.state()
            left = self._count(wait)
            if unit.running:
                self.say(f"{remote.unit} is running" + (f": {describe(self._counts)}" if self._counts else ""))
                return None
            state = schema_state(node, wait.profile, wait.release)
            if state in MIGRATION_COMPLETE and not unit.failed and not left:
                return record(
                    f"migration is complete: db check says {state.value} ({state.name.lower()})",
                    changed=False,
                    db_check=state.value,
                )
            output = remote.output() if unit.exists else "the unit was never started"
        rows = f", {left} rows are left" if left else ""
        raise VerifyError(
            f"migrate has ended ({unit.result or 'no unit'}, status {unit.exit_status}) and db check says "
            f"{state.value} ({state.name.lower()}){rows}:\n{output}",
            expected="a unit that ended well, and db check 5 (contract needed) or 0 (current).",
            safe="the new release was not started; the other nodes serve on the old one.",
            next_step="mend what the output names, then clear migrate; this task follows it.",
        )

    def _count(self, wait: Wait) -> int:
        rows = rows_left(wait.fleet.database, wait.profile.rows_left)
        if wait.profile.rows_left:
            self._counts.append(Count(wait.elapsed, rows))
        return rows
