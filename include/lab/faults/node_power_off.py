"""Loss of power: every process of a node ends at once, and nothing was told before."""

from __future__ import annotations

from include.lab import cgroups, nodes
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings


def _is_there(settings: LabSettings, injection: Injection) -> bool:
    return not nodes.running(injection.node_of(settings))


def _inject(settings: LabSettings, injection: Injection) -> None:
    machine = injection.node_of(settings).machine
    cgroups.kill(machine)
    cgroups.remove(machine)


def _lift(settings: LabSettings, injection: Injection) -> None:
    nodes.boot(settings, injection.node_of(settings))


FAULT = Fault(
    name="node-power-off",
    does="The node loses power. Lifted, it boots with its disk as it was; Glance starts if its unit is enabled.",
    forms=(frozenset({"node"}),),
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
