"""A balancer is killed and started without its state file: drains and counters are lost."""

from __future__ import annotations

from include.lab import balancers, cgroups
from include.lab.errors import LabError
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings


def _check(_settings: LabSettings, injection: Injection) -> None:
    balancer = injection.balancer_of()
    if balancers.servers(balancer) is None and cgroups.alive(balancer.name):
        raise LabError(
            f"{balancer.name} runs and cannot be asked, so its start could not be seen.",
            expected="a balancer whose runtime API answers.",
            safe="nothing was changed.",
            next_step=f"`./lab fault lift balancer-unreachable --balancer {balancer.name}`.",
        )


def _inject(settings: LabSettings, injection: Injection) -> None:
    balancer = injection.balancer_of()
    cgroups.kill(balancer.name)
    balancers.forget_state(settings, balancer)
    balancers.start(settings, balancer)


def _is_there(_settings: LabSettings, _injection: Injection) -> bool:
    return False


FAULT = Fault(
    name="balancer-restart",
    does="The balancer is killed and started without its state file: open requests are cut, drains and counters are "
    "lost. It happens once; nothing is lifted.",
    forms=(frozenset({"balancer"}),),
    check=_check,
    inject=_inject,
    lift=None,
    is_there=_is_there,
)
