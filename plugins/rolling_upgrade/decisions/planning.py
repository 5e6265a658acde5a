"""From what was asked and what was observed to a plan, or to a refusal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, get_args

from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet.catalogue import Catalogue, Release
from rolling_upgrade.fleet.inventory import Fleet, OnDrainTimeout, WhenToContract

Choice = TypeVar("Choice", bound=str)
MAX_SECONDS = 86_400
KNOWN_FIELDS = (
    "target_release",
    "nodes",
    "new_node",
    "drain_timeout_seconds",
    "on_drain_timeout",
    "soak_seconds",
    "contract",
    "dry_run",
)


@dataclass(frozen=True)
class Request:
    """What one run is asked to do, complete and checked against the inventory."""

    target_release: str
    nodes: tuple[str, ...]
    """In the order of their turns; the new node first."""
    new_node_chosen: bool
    """Somebody named the new node, so that no other may take its place."""
    drain_timeout_seconds: int
    on_drain_timeout: OnDrainTimeout
    soak_seconds: int
    contract: WhenToContract
    dry_run: bool

    @property
    def new_node(self) -> str:
        return self.nodes[0]


@dataclass(frozen=True)
class Observation:
    """What plan saw before anything was touched."""

    releases: Mapping[str, str | None]
    """For each node of the fleet the release that it is proven to run, None where it is not proven."""
    heads: tuple[str, ...]
    """Alembic revisions of the schema."""
    out: tuple[str, ...] = ()
    """Nodes that somebody has taken out of rotation on any balancer."""


@dataclass(frozen=True)
class Plan:
    """What the run will do. Recorded as an XCom; the world stays the truth for each step."""

    fleet: str
    from_releases: dict[str, str | None]
    target_release: str
    nodes: tuple[str, ...]
    already_there: tuple[str, ...]
    """Nodes of the run that run the target release now; they are passed over."""
    left_behind: tuple[str, ...]
    """Nodes of the fleet that this run does not touch and that run another release: no contract while there are any."""
    drain_timeout_seconds: int
    on_drain_timeout: OnDrainTimeout
    soak_seconds: int
    contract: WhenToContract
    dry_run: bool
    heads: tuple[str, ...]
    goes_back: bool = False
    """A rollback: the target is the release before, and the schema stays as it is."""

    @property
    def why_no_contract(self) -> str:
        """Why this run does not contract by what was asked of it; empty when it may."""
        if self.left_behind:
            return f"{', '.join(self.left_behind)} keep another release and need the old schema"
        return "the run was asked to leave it to a later one" if self.contract == "later" else ""

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        return cls(**values)


def read_request(form: Mapping[str, Any], fleet: Fleet, catalogue: Catalogue) -> Request:
    """Check what the form or the REST API sent against inventory and catalogue.

    Raises RefusedError, naming the value and what is allowed.
    """
    unknown = sorted(set(form) - set(KNOWN_FIELDS))
    if unknown:
        raise _refused(f"field {unknown[0]!r} is not known", f"only {', '.join(KNOWN_FIELDS)}")
    target = form.get("target_release")
    if not isinstance(target, str) or target not in catalogue.versions:
        raise _refused(f"target_release is {target!r}", f"one of {', '.join(catalogue.versions)}")
    dry_run = form.get("dry_run")
    dry_run = False if dry_run is None else dry_run
    if not isinstance(dry_run, bool):
        raise _refused(f"dry_run is {dry_run!r}", "true or false")
    return Request(
        target_release=target,
        nodes=_order(form.get("nodes"), form.get("new_node"), fleet),
        new_node_chosen=form.get("new_node") not in (None, ""),
        drain_timeout_seconds=_seconds(
            "drain_timeout_seconds", form.get("drain_timeout_seconds"), fleet.defaults.drain_timeout_seconds, least=1
        ),
        on_drain_timeout=_choice(
            "on_drain_timeout",
            form.get("on_drain_timeout"),
            fleet.defaults.on_drain_timeout,
            get_args(OnDrainTimeout),
        ),
        soak_seconds=_seconds("soak_seconds", form.get("soak_seconds"), fleet.defaults.soak_seconds, least=0),
        contract=_choice("contract", form.get("contract"), fleet.defaults.contract, get_args(WhenToContract)),
        dry_run=dry_run,
    )


def make_plan(request: Request, observed: Observation, fleet: Fleet, catalogue: Catalogue) -> Plan:
    """What the run will do, or RefusedError when what was observed does not allow it."""
    target = catalogue.release(request.target_release)
    for node, version in observed.releases.items():
        if version is None or version == target.version:
            continue
        why_not = catalogue.why_not_from(catalogue.release(version), target)
        if why_not:
            raise _refused(f"{node} runs {version}: {why_not}", "a release that this one can be upgraded to")
    refuse_unless_serving(observed, fleet)
    _refuse_schema(observed.heads, target, catalogue)
    old = [name for name, version in observed.releases.items() if version != target.version]
    nodes = order_of_turns(request, observed, old)
    return Plan(
        fleet=fleet.name,
        from_releases=dict(observed.releases),
        target_release=target.version,
        nodes=nodes,
        already_there=tuple(name for name in nodes if name not in old),
        left_behind=tuple(name for name in old if name not in nodes),
        drain_timeout_seconds=request.drain_timeout_seconds,
        on_drain_timeout=request.on_drain_timeout,
        soak_seconds=request.soak_seconds,
        contract=request.contract,
        dry_run=request.dry_run,
        heads=observed.heads,
    )


def refuse_unless_serving(observed: Observation, fleet: Fleet) -> None:
    """Raise RefusedError when no node is proven to run anything: then there is nothing to keep serving."""
    if not any(observed.releases.values()):
        raise _refused(
            f"no node of {', '.join(fleet.node_names)} is proven to run any release",
            "a fleet that serves, to begin with",
        )


def order_of_turns(request: Request, observed: Observation, old: Sequence[str]) -> tuple[str, ...]:
    """The order of turns: a node that is out of rotation already goes first, since no other may leave beside it.

    It is out because an earlier run ended half-way, or because somebody took it out. Raises RefusedError when that
    cannot be so.
    """
    waiting = [name for name in request.nodes if name in old and name not in observed.out]
    if not waiting or not observed.out:
        return request.nodes
    outside = [name for name in observed.out if name not in request.nodes]
    if outside:
        raise _refused(
            f"{', '.join(outside)} is out of rotation and not among the nodes of this run, "
            f"so {', '.join(waiting)} could not leave",
            "every node that is out to be part of the run, or back in rotation",
        )
    if request.new_node_chosen and request.new_node not in observed.out:
        raise _refused(
            f"new_node is {request.new_node!r}, and {', '.join(observed.out)} is out of rotation already",
            f"new_node empty, or {' or '.join(observed.out)}",
        )
    return (
        *(name for name in request.nodes if name in observed.out),
        *(name for name in request.nodes if name not in observed.out),
    )


def _choice(field: str, value: object, default: Choice, allowed: tuple[Choice, ...]) -> Choice:
    if value is None or value == "":
        return default
    for choice in allowed:
        if value == choice:
            return choice
    raise _refused(f"{field} is {value!r}", f"one of {', '.join(allowed)}")


def _refuse_schema(heads: tuple[str, ...], target: Release, catalogue: Catalogue) -> None:
    """A node that cannot be proven hides its release; the schema tells it still. Raises RefusedError."""
    at = [release for release in catalogue.releases if {release.expanded, release.contracted} & set(heads)]
    whys = [catalogue.why_not_from(release, target) for release in at]
    if at and None in whys:
        return
    raise _refused(
        f"the schema is at {', '.join(heads) or 'no revision'}"
        + "".join(f"; {why}" for why in whys if why)
        + ("" if at else ", which is of no release in the catalogue"),
        f"a schema from which {target.version} can be reached",
    )


_TIMEOUT_MEANS: dict[OnDrainTimeout, str] = {
    "hold": "the node goes back into rotation and the run holds; nothing is cut",
    "ask": "a person is asked; nothing is cut without the answer",
    "cut": "what is still open is CUT",
}


def describe(plan: Plan) -> list[str]:
    """The plan as lines for an operator, in the order in which things will happen."""
    lines = [f"fleet {plan.fleet} to {plan.target_release}; schema is at {', '.join(plan.heads) or 'no revision'}"]
    for name in plan.nodes:
        found = plan.from_releases.get(name) or "not proven"
        does = "passed over" if name in plan.already_there else f"{found} -> {plan.target_release}"
        role = "new node: upgraded first, runs the database phases" if name == plan.nodes[0] else "remaining node"
        lines.append(f"{name}: {does}" + ("" if plan.goes_back else f" ({role})"))
    if plan.goes_back:
        lines.append("database: stays as it is; it serves both releases until contract")
    elif plan.why_no_contract:
        lines.append(f"contract: not in this run; {plan.why_no_contract}")
    else:
        asked = ", and once a person has approved it" if plan.contract == "ask" else ""
        lines.append(f"contract: after every node of the fleet is proven to run the target release{asked}")
    lines.append(
        f"each drain may take {plan.drain_timeout_seconds} s, then {_TIMEOUT_MEANS[plan.on_drain_timeout]}; "
        f"each node soaks {plan.soak_seconds} s"
    )
    return lines


def _order(nodes: object, new_node: object, fleet: Fleet) -> tuple[str, ...]:
    allowed = f"names from {', '.join(fleet.node_names)}"
    if nodes is None or nodes == []:
        nodes = list(fleet.node_names)
    if not isinstance(nodes, list):
        raise _refused(f"nodes is {nodes!r}", f"a list of {allowed}")
    for name in nodes:
        if name not in fleet.node_names:
            raise _refused(f"nodes holds {name!r}", allowed)
        if nodes.count(name) > 1:
            raise _refused(f"nodes holds {name!r} more than once", "each node once")
    if new_node is None or new_node == "":
        return tuple(nodes)
    if new_node not in nodes:
        raise _refused(f"new_node is {new_node!r}", f"one of the nodes of this run: {', '.join(nodes)}")
    return (str(new_node), *(name for name in nodes if name != new_node))


def _seconds(field: str, value: object, default: int, *, least: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_SECONDS:
        raise _refused(f"{field} is {value!r}", f"a whole number of seconds from {least} to {MAX_SECONDS}")
    return value


def _refused(found: str, expected: str) -> RefusedError:
    return RefusedError(
        f"{found}.",
        expected=f"{expected}.",
        safe="nothing was touched; the fleet serves as before.",
        next_step="trigger a new run with a value that is allowed.",
    )
