"""Wait until expand or contract has ended well and the schema shows it."""

from __future__ import annotations

from typing import Any

from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.log_bin_trust import put_back_after_phase
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.phase import RemotePhase
from rolling_upgrade.triggers.waiting import Wait, WaitTrigger


class PhaseCompleteTrigger(WaitTrigger):
    """The phase's unit is not running and did not fail, and the release's revision is in the database.

    The unit goes on whatever becomes of Airflow, of the connection, or of this wait.
    """

    def __init__(self, *, phase: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.phase = Phase(phase)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        name, arguments = super().serialize()
        return name, {**arguments, "phase": self.phase.value}

    def poll(self, wait: Wait) -> Record | None:
        phase = self.phase.value
        with NodeHook.from_connection(wait.node).connected() as node:
            remote = RemotePhase(node, wait.profile, wait.release, self.phase)
            unit = remote.state()
            if unit.running:
                self.say(f"{remote.unit} is running")
                return None
            put_back_after_phase(wait.fleet.database, self.log)
            found = DatabaseHook(wait.fleet.database).heads()
            output = remote.output() if unit.exists else ""
        heads = load_catalogue().release(wait.release).heads
        if heads.phase_is_done(self.phase, found) and not unit.failed:
            for line in output.splitlines():
                self.log.info("%s", line)
            return record(f"{phase} is complete: the schema is at {', '.join(found)}", changed=False)
        ended = f"ended with {unit.result}, status {unit.exit_status}" if unit.exists else "left no unit behind"
        raise VerifyError(
            f"{phase} {ended}; the schema is at {', '.join(found) or 'no revision'}.\n{output}".rstrip(),
            expected="a unit that ended well, and the release's revision in the database.",
            safe="nodes that serve go on serving; no later step has begun.",
            next_step=f"mend what the output names (`journalctl -u {remote.unit}` on {wait.node.name}), then clear "
            f"{phase} with what follows it: it starts the phase again.",
        )
