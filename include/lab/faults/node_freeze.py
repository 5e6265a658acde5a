"""A node that hangs: every process of the machine is frozen, and the network still takes connections."""

from __future__ import annotations

from include.lab import cgroups
from include.lab.faults import checks
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings
from include.lab.waiting import until

SECONDS = 10.0


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    try:
        events = (cgroups.group_path(injection.node_of(settings).machine) / "cgroup.events").read_text()
    except FileNotFoundError:
        return False
    return "frozen 1" in events


def _inject(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    # The file is there on a hybrid host too, in its v2 hierarchy, which holds every process of the machine.
    (cgroups.group_path(node.machine) / "cgroup.freeze").write_text("1")
    until(lambda: _is_there(settings, injection), f"every process of {node.name} to be frozen", seconds=SECONDS)


def _lift(settings: LabSettings, injection: Injection) -> None:
    node = injection.node_of(settings)
    if not cgroups.group_path(node.machine).is_dir():
        return  # it has been powered off
    cgroups.thaw(node.machine)
    until(lambda: not _is_there(settings, injection), f"{node.name} to go on", seconds=SECONDS)


FAULT = Fault(
    name="node-freeze",
    does="The node hangs: no process of it runs, connections to it get no answer. Lifted, it goes on.",
    forms=(frozenset({"node"}),),
    check=checks.node_runs,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
