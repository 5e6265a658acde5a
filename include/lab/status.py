"""What runs where, read from processes, runtime APIs and the database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from include.lab import balancers, cgroups, database, nodes, record
from include.lab.errors import LabError
from include.lab.settings import BALANCERS, LabSettings, Node


@dataclass(frozen=True)
class NodeStatus:
    """One node. ``rotation`` and ``sessions`` are by balancer; a balancer that does not answer is missing."""

    name: str
    address: str
    running: bool
    unit: str
    releases: list[str]
    current: str | None
    rotation: dict[str, str]
    sessions: dict[str, int]


@dataclass(frozen=True)
class Status:
    """The whole lab."""

    up: bool
    nodes: list[NodeStatus]
    balancers: dict[str, bool]
    database_answers: bool
    database_heads: list[str]
    groups: list[str]
    """Living cgroups, also of what was started with ``exec``."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _inside(node: Node) -> NodeStatus:
    return NodeStatus(
        name=node.name,
        address=node.address,
        running=nodes.running(node),
        unit=nodes.unit_state(node),
        releases=nodes.running_releases(node),
        current=nodes.current_release(node),
        rotation={},
        sessions={},
    )


def with_rotation(node: NodeStatus, seen: dict[str, list[balancers.ServerState] | None]) -> NodeStatus:
    """The node's status with what each balancer says of it."""
    states = {name: server for name, servers in seen.items() for server in servers or [] if server.server == node.name}
    return replace(
        node,
        rotation={name: state.status for name, state in states.items()},
        sessions={name: state.sessions for name, state in states.items()},
    )


def _database() -> tuple[bool, list[str]]:
    if not database.answers():
        return False, []
    try:
        return True, database.heads()
    except LabError:
        return False, []


def observe(settings: LabSettings) -> Status:
    """Look at everything once and at the same time: under two seconds also when parts do not answer."""
    known = record.read(settings)
    with ThreadPoolExecutor(max_workers=16) as pool:
        asked_database = pool.submit(_database)
        asked = {balancer.name: pool.submit(balancers.servers, balancer) for balancer in BALANCERS}
        looked = [pool.submit(_inside, node) for node in record.as_recorded(settings).nodes]
    seen = {name: future.result() for name, future in asked.items()}
    found = [with_rotation(future.result(), seen) for future in looked]
    answers, heads = asked_database.result()
    every_part = [answers, *(node.running for node in found), *(servers is not None for servers in seen.values())]
    return Status(
        up=bool(known and known.ready and all(every_part)),
        nodes=found,
        balancers={name: servers is not None for name, servers in seen.items()},
        database_answers=answers,
        database_heads=heads,
        groups=[group for group in cgroups.groups() if cgroups.alive(group)],
    )
