"""A database phase as a remote unit of systemd on the node that runs it.

The unit has the same name for every try, so systemd itself refuses a second start, and a lost worker, connection
or Airflow cuts nothing: the next try finds the unit and attaches to it.
"""

from __future__ import annotations

from rolling_upgrade.decisions.phases import Phase, SchemaState, UnitState
from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.services.profile import ServiceProfile

PROPERTIES = "LoadState,ActiveState,SubState,Result,ExecMainStatus"
AT_WORK = "running,activating,deactivating,reloading"
"""States of a unit whose process may still be there, as ``UnitState.running`` counts them."""


class RemotePhase:
    """One phase of one release on one node."""

    def __init__(self, node: NodeHook, profile: ServiceProfile, release: str, phase: Phase) -> None:
        self._node = node
        self._profile = profile
        self._release = release
        self._phase = phase
        self.unit = profile.phase_unit(release, phase)

    def state(self) -> UnitState:
        shown = self._node.must_run(["systemctl", "show", "-p", PROPERTIES, self.unit])
        return UnitState.from_show(dict(line.split("=", 1) for line in shown.splitlines() if "=" in line))

    def start(self) -> None:
        """Start the unit. systemd refuses when one of that name is there, and that is an error here too."""
        command = self._profile.phase_command(self._release, self._phase)
        self._node.must_run(
            [
                "systemd-run",
                f"--unit={self.unit}",
                f"--uid={self._profile.user}",
                f"--gid={self._profile.group}",
                # Kept after its end, so that the next try can read how it ended.
                "--property=RemainAfterExit=yes",
                "--",
                *command,
            ],
            sudo="root",
        )

    def forget(self) -> None:
        """Remove an ended unit, so that the phase can be started again. Never called for a running one."""
        self._node.script(
            "clearing away a phase that has ended",
            'systemctl stop "$1" || true; systemctl reset-failed "$1" 2>/dev/null || true',
            self.unit,
        )

    def output(self, lines: int = 60) -> str:
        """The newest lines that the phase printed."""
        return self._node.must_run(
            ["journalctl", "--no-pager", "-o", "cat", "-n", str(lines), "-u", self.unit], sudo="root"
        )


def refuse_running_phase(fleet: Fleet, profile: ServiceProfile) -> None:
    """Raise PrecheckError while a phase runs on any node, and UnreachableError while one cannot be asked.

    A unit's name keeps a phase from running twice on one node; this keeps it from running on another one as well,
    after a run that was ended by hand for one.
    """
    pattern = f"{profile.name}-db-*.service"
    for node in fleet.nodes:
        shown = NodeHook.from_connection(node).must_run(
            ["systemctl", "list-units", f"--state={AT_WORK}", "--plain", "--no-legend", pattern]
        )
        units = [line.split()[0] for line in shown.splitlines() if line.strip()]
        running = [unit for unit in units if unit.startswith(f"{profile.name}-db-")]
        if running:
            raise PrecheckError(
                f"{', '.join(running)} is running on {node.name}.",
                expected="no phase of the database at work anywhere.",
                safe="it goes on by itself; this step has not begun.",
                next_step=f"wait for its end (`systemctl status {running[0]}` on {node.name}), then clear this task.",
            )


def schema_state(node: NodeHook, profile: ServiceProfile, release: str) -> SchemaState:
    """What the new release's ``db check`` says. Raises VerifyError for any answer but the documented four.

    It takes 3 to 6 s, all of it the tool's own start.
    """
    result = node.run(profile.check_command(release), sudo=profile.user)
    try:
        return SchemaState(result.status)
    except ValueError:
        said = (result.stdout.strip() or result.stderr.strip())[-800:]
        raise VerifyError(
            f"`db check` of {release} on {node.node.name} ended with {result.status}: {said}",
            expected="0 (current), 3 (expand needed), 4 (migrate needed) or 5 (contract needed).",
            safe="the check changes nothing; the schema is as before.",
            next_step="run the command by hand on the node as the service's user, mend it, then clear this task.",
        ) from None
