"""SSH to a node breaks, what is connected and what would connect, while Glance on it serves."""

from __future__ import annotations

import re

from include.lab import cgroups, nodes
from include.lab.faults import checks
from include.lab.faults.fault import Fault, Injection
from include.lab.faults.firewall import Cut, cut, is_cut, mend
from include.lab.settings import LabSettings, Node
from include.lab.waiting import until

SSH = Cut("lab_ssh_cut", 22)
SECONDS = 15.0
# Of a connection sshd holds one end in two processes; when both have ended, the kernel closes it.
_HOLDERS = "ss -Htnp state established '( sport = :22 )' | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u"


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    return is_cut(injection.node_of(settings).machine, SSH)


def _inject(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    cut(node.machine, SSH)
    until(lambda: not _end_sessions(node), f"the end of every SSH connection to {node.name}", seconds=SECONDS)
    until(lambda: not nodes.ssh_answers(node), f"sshd of {node.name} to be out of reach", seconds=SECONDS)


def _end_sessions(node: Node) -> list[str]:
    """End the processes that hold an SSH connection; returns those there were."""
    pids = re.findall(r"\d+", nodes.inside(node, "sh", "-c", _HOLDERS).stdout)
    if pids:
        nodes.inside(node, "kill", "-KILL", *pids, check=False)  # one may have ended meanwhile
    return pids


def _lift(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    mend(node.machine, SSH)
    if cgroups.alive(node.machine):
        until(lambda: nodes.ssh_answers(node), f"sshd of {node.name} to answer", seconds=SECONDS)


FAULT = Fault(
    name="ssh-cut",
    does="SSH connections to the node break, and new ones get no answer. Glance on it serves on.",
    forms=(frozenset({"node"}),),
    check=checks.node_runs,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
