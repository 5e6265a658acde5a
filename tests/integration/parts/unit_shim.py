"""Stand-in for systemd-run, systemctl and journalctl where no systemd runs: a unit is a real process that stays.

Its process outlives the connection that started it, its state is that of the process, and its output is kept. Each
node, which is an address of this machine, has units of its own. Of systemd it has what the workflow asks for, as
systemd 252 answers: a transient unit with RemainAfterExit, and no other.

Usage: python3 -I unit_shim.py FOLDER PROGRAM WORD...
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NOT_FOUND = {
    "LoadState": "not-found",
    "ActiveState": "inactive",
    "SubState": "dead",
    "Result": "success",
    "ExecMainStatus": "0",
}


@dataclass(frozen=True)
class Unit:
    """A unit's folder: made when it is started, removed when it is forgotten. The journal lies beside it and stays."""

    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder.with_suffix(".journal")

    @property
    def pid(self) -> int:
        """Of the unit's own process; 0 before there is one."""
        return _number(self.folder / "pid")

    @property
    def supervisor(self) -> int:
        """Waits for the process; it leads the group of both."""
        return _number(self.folder / "supervisor")

    @property
    def supervised(self) -> bool:
        try:
            command = Path(f"/proc/{self.supervisor}/cmdline").read_bytes()
        except OSError:
            return False
        return self.folder.name.encode() in command

    def show(self) -> dict[str, str]:
        """Its properties, as ``systemctl show`` names them."""
        if not self.folder.is_dir():
            return NOT_FOUND
        # Looked at first: who has gone has left the status behind.
        supervised = self.supervised
        status = self.folder / "status"
        if status.exists():
            code = int(status.read_text())
        elif not self.supervisor:
            return _properties("activating", "start", "success", 0)
        elif supervised:
            return _properties("active", "running", "success", 0)
        else:
            code = -9  # nobody saw its end
        if code < 0:
            return _properties("failed", "failed", "signal", -code)
        if code > 0:
            return _properties("failed", "failed", "exit-code", code)
        return _properties("active", "exited", "success", 0)

    def remove(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _properties(active: str, sub: str, result: str, status: int) -> dict[str, str]:
    found = {"ActiveState": active, "SubState": sub, "Result": result, "ExecMainStatus": str(status)}
    return {"LoadState": "loaded", **found}


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def start(unit: Unit, command: list[str]) -> int:
    """As ``systemd-run``: refuses a name that is there, and returns once the process is on its way."""
    try:
        unit.folder.mkdir()
    except FileExistsError:
        print(f"Failed to start transient service unit: Unit {unit.folder.name} was already loaded.", file=sys.stderr)
        return 1
    supervisor = subprocess.Popen(
        [sys.executable, "-I", __file__, str(unit.folder), "supervise", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # A unit has none of the environment of who starts it.
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
    )
    _write(unit.folder / "supervisor", str(supervisor.pid))
    return 0


def supervise(unit: Unit, command: list[str]) -> int:
    """Be the parent of the unit's process, and write down how it ends."""
    with unit.journal.open("ab") as journal:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=journal, stderr=journal)
        _write(unit.folder / "pid", str(process.pid))
        _write(unit.folder / "status", str(process.wait()))
    return 0


def systemctl(units: Path, verb: str, words: list[str]) -> int:
    """The verbs show, list-units, stop and reset-failed."""
    if verb == "show":
        for name, value in Unit(units / words[-1]).show().items():
            if name in words[1].split(","):
                print(f"{name}={value}")
        return 0
    if verb == "list-units":
        wanted = words[0].removeprefix("--state=").split(",")
        for folder in sorted(units.glob("*.service")):
            shown = Unit(folder).show()
            active, sub = shown["ActiveState"], shown["SubState"]
            if fnmatch.fnmatch(folder.name, words[-1]) and not {active, sub}.isdisjoint(wanted):
                print(folder.name, shown["LoadState"], active, sub, "a transient unit")
        return 0
    unit = Unit(units / words[-1])
    shown = unit.show()
    if (verb, shown["SubState"]) in (("stop", "exited"), ("reset-failed", "failed")):
        unit.remove()
        return 0
    if verb == "stop" and shown["SubState"] == "failed":
        return 0
    print(f"Failed to {verb} {words[-1]}: Unit {words[-1]} not loaded.", file=sys.stderr)
    return 5


def main(folder: Path, program: str, words: list[str]) -> int:
    if program == "supervise":
        return supervise(Unit(folder), words)
    # The address that the connection came to is the node.
    units = folder / "transient" / os.environ["SSH_CONNECTION"].split()[2]
    units.mkdir(parents=True, exist_ok=True)
    if program == "systemd-run":
        cut = words.index("--")
        (name,) = [word.removeprefix("--unit=") for word in words[:cut] if word.startswith("--unit=")]
        return start(Unit(units / name), words[cut + 1 :])
    if program == "journalctl":
        journal = Unit(units / words[-1]).journal
        lines = journal.read_text(errors="replace").splitlines() if journal.exists() else ["-- No entries --"]
        print("\n".join(lines[-int(words[words.index("-n") + 1]) :]))
        return 0
    return systemctl(units, words[0], words[1:])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
