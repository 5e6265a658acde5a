"""The lab's cgroups: one for each machine and service, in every hierarchy that systemd in a machine looks at.

Every process of the lab lives in one of them, so that it can be found and ended without a name or a pid file.
On a host with cgroup v2 alone there is one hierarchy. On a hybrid host systemd needs its own place in the named
v1 hierarchy and in some controllers as well: machines that share one fail to stop units.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from include.lab.errors import CANNOT_RUN, LabError
from include.lab.settings import NAME
from include.lab.waiting import until

_V1_NEEDED = ("name=systemd", "memory", "pids", "freezer", "cpu")
_ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


def parse_hierarchies(mountinfo: str) -> tuple[Path | None, tuple[Path, ...]]:
    """From the text of ``/proc/self/mountinfo``: the v2 hierarchy, or None, and the v1 ones a machine needs."""
    unified: Path | None = None
    legacy: list[Path] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or fields[3] != "/":
            continue
        if kind[0] == "cgroup2" and unified is None:
            unified = Path(fields[4])
        elif kind[0] == "cgroup" and set(kind[2].split(",")) & set(_V1_NEEDED):
            legacy.append(Path(fields[4]))
    return unified, tuple(dict.fromkeys(legacy))


@cache
def _hierarchies() -> tuple[Path, tuple[Path, ...]]:
    unified, legacy = parse_hierarchies(Path("/proc/self/mountinfo").read_text())
    if unified is None:
        raise LabError(
            "no cgroup v2 hierarchy is mounted.",
            expected="one at /sys/fs/cgroup, or at /sys/fs/cgroup/unified.",
            safe="nothing was changed.",
            next_step="`./lab doctor` says what would help.",
            exit_code=CANNOT_RUN,
        )
    return unified, legacy


def group_path(group: str = "") -> Path:
    """The group's directory in the v2 hierarchy; the lab's own without a name."""
    return _hierarchies()[0] / NAME / group


def _directories(group: str = "") -> list[Path]:
    unified, legacy = _hierarchies()
    return [root / NAME / group for root in (unified, *legacy)]


def inside(group: str, command: Sequence[str | Path]) -> list[str]:
    """The command, wrapped so that it runs in the group from its first instruction. Makes the group."""
    directories = _directories(group)
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
    return ["/bin/sh", "-c", _ENTER, "sh", *map(str, directories), "--", *map(str, command)]


def move_self(group: str) -> None:
    """Move this process into the group."""
    for directory in _directories(group):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cgroup.procs").write_text(str(os.getpid()))


def leave() -> None:
    """Move this process out of the lab's groups, so that ending them does not end it."""
    unified, legacy = _hierarchies()
    if f"/{NAME}/" in Path("/proc/self/cgroup").read_text():
        for root in (unified, *legacy):
            (root / "cgroup.procs").write_text(str(os.getpid()))


def groups() -> list[str]:
    """The names of all groups that exist."""
    return sorted({p.name for d in _directories() if d.is_dir() for p in d.iterdir() if p.is_dir()})


def alive(group: str = "") -> bool:
    """True while any process lives in the group or below it."""
    try:
        return "populated 1" in (group_path(group) / "cgroup.events").read_text()
    except OSError:
        return False


def processes(group: str) -> Iterator[int]:
    """Every process of the group and of what lies below it."""
    for directory, _, _ in os.walk(group_path(group)):
        try:
            yield from map(int, (Path(directory) / "cgroup.procs").read_text().split())
        except OSError:  # a group that went away while it was read has no process
            continue


def kill(group: str, *, seconds: float = 15.0) -> None:
    """End every process of the group at once and wait until none is left. A frozen group dies as well."""
    path = group_path(group)
    if not path.is_dir():
        return
    thaw(group)
    (path / "cgroup.kill").write_text("1")
    until(lambda: not alive(group), f"the end of all processes in {path}", seconds=seconds, every=0.01)


def thaw(group: str) -> None:
    """Let a frozen group go on. Tasks that the v1 controller has frozen do not take even SIGKILL."""
    (group_path(group) / "cgroup.freeze").write_text("0")
    for directory in _directories(group):
        freezer = directory / "freezer.state"
        if freezer.exists():
            freezer.write_text("THAWED")


def remove(group: str = "") -> None:
    """Remove the group and what lies below it, in every hierarchy. Its processes must have ended."""
    for top in _directories(group):
        if not top.is_dir():
            continue
        for directory, _, _ in os.walk(top, topdown=False):
            # The kernel lets go of a dead process a moment after it is gone from the list.
            until(partial(_removed, Path(directory)), f"cgroup {directory} to become empty", seconds=5)


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remains() -> list[str]:
    """The lab's directories that still exist in any hierarchy."""
    return [str(directory) for directory in _directories() if directory.exists()]
