"""A balancer's runtime API gives no answer, while its traffic goes on."""

from __future__ import annotations

from include.lab import balancers, cgroups
from include.lab.errors import LabError
from include.lab.faults.fault import Fault, Injection
from include.lab.faults.firewall import Cut, cut, is_cut, mend
from include.lab.settings import LabSettings
from include.lab.waiting import until

SECONDS = 15.0


def _admin(injection: Injection) -> Cut:
    return Cut("lab_admin_cut", injection.balancer_of().admin_port)


def _is_there(_settings: LabSettings, injection: Injection) -> bool:
    return is_cut(injection.balancer_of().name, _admin(injection))


def _check(_settings: LabSettings, injection: Injection) -> None:
    if not cgroups.alive(injection.balancer_of().name):
        raise LabError(
            f"{injection.balancer} does not run.",
            expected="a running balancer.",
            safe="nothing was changed.",
            next_step="`./lab up`.",
        )


def _inject(_settings: LabSettings, injection: Injection) -> None:
    balancer = injection.balancer_of()
    cut(balancer.name, _admin(injection))
    until(lambda: balancers.servers(balancer) is None, f"{balancer.name} to be silent", seconds=SECONDS)


def _lift(_settings: LabSettings, injection: Injection) -> None:
    balancer = injection.balancer_of()
    mend(balancer.name, _admin(injection))
    if cgroups.alive(balancer.name):
        until(lambda: balancers.servers(balancer) is not None, f"{balancer.name} to answer", seconds=SECONDS)


FAULT = Fault(
    name="balancer-unreachable",
    does="The balancer's runtime API gets no packet any more: who asks it waits in vain. Traffic goes on.",
    forms=(frozenset({"balancer"}),),
    check=_check,
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
