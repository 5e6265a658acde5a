"""One balancer's configuration calls a node by another name than the fleet does."""

from __future__ import annotations

from include.lab import balancers
from include.lab.faults.fault import Fault, Injection
from include.lab.settings import LabSettings


def _wrong(injection: Injection) -> str:
    return f"{injection.node}-renamed"


def _is_there(_settings: LabSettings, injection: Injection) -> bool:
    seen = balancers.servers(injection.balancer_of()) or []
    return _wrong(injection) in {state.server for state in seen}


def _inject(settings: LabSettings, injection: Injection) -> None:
    _rename(settings, injection, {str(injection.node): _wrong(injection)})
    if not _is_there(settings, injection):
        balancers.restart(settings, injection.balancer_of())


def _lift(settings: LabSettings, injection: Injection) -> None:
    _rename(settings, injection, {})
    if _is_there(settings, injection):
        balancers.restart(settings, injection.balancer_of())


def _rename(settings: LabSettings, injection: Injection, names: dict[str, str]) -> None:
    balancer = injection.balancer_of()
    others = {node: name for node, name in balancers.names(settings, balancer).items() if node != injection.node}
    balancers.rename(settings, balancer, others | names)


FAULT = Fault(
    name="wrong-server-name",
    does="The balancer's configuration names the node's server differently. It is restarted for it, as for lifting "
    "it: open requests are cut, drains stay.",
    forms=(frozenset({"node", "balancer"}),),
    inject=_inject,
    lift=_lift,
    is_there=_is_there,
)
