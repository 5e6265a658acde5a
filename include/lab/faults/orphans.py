"""Old workers of Glance listen on the service port beside the unit's own, as after ``kill -9`` of a master.

They are real ones: another Glance of the release is started outside the unit, and its master killed.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from include.lab import cgroups, nodes
from include.lab.errors import LabError
from include.lab.faults import checks
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import SERVICE_PORT, LabSettings, Node
from include.lab.waiting import until

MARK = b"LAB_FAULT=orphans"
UNIT = "lab-fault-orphans.service"
SECONDS = 30.0
# Only the main process is systemd's to end, so that the workers stay.
_START = """
tree=$1
systemctl reset-failed "$2" 2> /dev/null || true
systemd-run --quiet --collect --unit="$2" --uid=glance --gid=glance --property=KillMode=process \
    --property=WorkingDirectory=/var/lib/glance --setenv=LAB_FAULT=orphans \
    "$tree/bin/glance-api" --config-file "$tree/etc/glance/glance-api.conf"
"""
_LISTENERS = f"ss -Hltnp '( sport = :{SERVICE_PORT} )'"


def pids(node: Node) -> list[int]:
    """The orphans, as the host numbers them: processes of the machine that carry the mark they were started with."""
    found = []
    for pid in cgroups.processes(node.machine):
        try:
            if MARK in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
        except OSError:  # it has ended meanwhile
            continue
    return found


def _inner(pid: int) -> str:
    """The pid as the node numbers it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith("NSpid:")).split()[-1]


def _master(node: Node) -> int | None:
    """The one of them whose parent is none of them."""
    known = pids(node)
    for pid in known:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        if int(parent) not in known:
            return pid
    return None


def _listen(node: Node) -> bool:
    """True when the port is held by the orphans' family, workers included."""
    known = pids(node)
    said = nodes.inside(node, "sh", "-c", _LISTENERS).stdout
    return len(known) > 1 and all(f"pid={_inner(pid)}," in said for pid in known)


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    return bool(pids(injection.node_of(settings)))


def _inject(settings: LabSettings, injection: Injection) -> None:
    node, version = injection.node_of(settings), injection.version()
    nodes.inside(node, "sh", "-euc", _START, "start", f"/opt/glance/releases/{version}", UNIT)
    until(lambda: _listen(node), f"workers of {version} to listen on {node.name}", seconds=SECONDS)
    master = _master(node)
    if master is not None:
        os.kill(master, signal.SIGKILL)
        until(lambda: master not in pids(node), "the end of their master", seconds=SECONDS)
    if not _is_there(settings, injection):
        raise LabError(f"no worker of {version} outlived its master on {node.name}.", expected="at least one.")


def _lift(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    until(lambda: not _kill(node), f"the end of the orphans on {node.name}", seconds=SECONDS)


def _kill(node: Node) -> list[int]:
    """End each by its own pid, looked at again through a handle that no other process can take over."""
    known = pids(node)
    for pid in known:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if pid in pids(node):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(handle)
    return known


def _detail(settings: LabSettings, injection: Injection) -> str:
    node = injection.node_of(settings)
    return "pids on the node: " + (" ".join(_inner(pid) for pid in pids(node)) or "none")


FAULT = Fault(
    name="orphans",
    does="Workers of the release, whose master was killed, listen on the node's service port beside the unit's own "
    "and take part of its requests. Lifted, exactly these are killed.",
    forms=(frozenset({"node", "release"}),),
    check=checks.release_is_on_node,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
    detail=_detail,
)
