"""Which release does a node really run? Pure.

Neither an answer over HTTP nor the ``current`` symlink proves anything: both can be new while an old process
lives. The proof is every process that listens on the service's port, every process of its unit, and every other
process that has files of a release open. A node that cannot be asked is not proven.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rolling_upgrade.decisions.rotation import ServerView

CLOCK_SECONDS = 0.1
"""A process' start is counted in ticks of the kernel, so it may seem this much earlier than it was."""


@dataclass(frozen=True)
class Process:
    """One process on a node that belongs to the service or stands on its port."""

    pid: int
    command: str
    releases: tuple[str, ...]
    """Releases whose files its command line or its mapped files name."""
    listens: bool
    """It listens on the service's port."""
    in_unit: bool
    """It is in the unit's cgroup."""
    started: float = math.inf
    """When it began, as ``time.time()`` counts; endless where nobody has looked."""

    @property
    def is_orphan(self) -> bool:
        """It shares the port with the service and is not of its unit, as workers are that outlive their master."""
        return self.listens and not self.in_unit

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command[:80]}), release {'+'.join(self.releases) or 'unknown'}"


@dataclass(frozen=True)
class NodeView:
    """What a node says about the service, at one moment."""

    active_state: str
    """systemd's ActiveState of the unit."""
    sub_state: str
    restarts: int
    """systemd's NRestarts: how often it started the unit again by itself."""
    current: str | None
    """The release that the ``current`` symlink names."""
    complete_releases: tuple[str, ...]
    established: int
    """Established TCP connections on the service's port."""
    processes: tuple[Process, ...] = field(default_factory=tuple)
    archives: Mapping[str, str] = field(default_factory=dict)
    """For each complete release the SHA-256 of the archive that it came from; empty where that is not on record."""
    switched: float = 0.0
    """When the ``current`` symlink was made, as ``time.time()`` counts."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NodeView:
        return cls(
            active_state=str(data["active_state"]),
            sub_state=str(data["sub_state"]),
            restarts=int(data["restarts"]),
            current=data["current"],
            complete_releases=tuple(data["complete_releases"]),
            established=int(data["established"]),
            archives=dict(data.get("archives", {})),
            switched=float(data.get("switched") or 0.0),
            processes=tuple(
                Process(
                    pid=int(p["pid"]),
                    command=str(p["command"]),
                    releases=tuple(p["releases"]),
                    listens=bool(p["listens"]),
                    in_unit=bool(p["in_unit"]),
                    started=float(p.get("started", math.inf)),
                )
                for p in data["processes"]
            ),
        )

    @property
    def service_processes(self) -> tuple[Process, ...]:
        return tuple(p for p in self.processes if p.listens or p.in_unit)


def why_not_proven(view: NodeView, release: str) -> list[str]:
    """Reasons for which the node is not proven to run ``release`` and nothing else; empty when it is."""
    reasons = []
    if not any(process.listens for process in view.processes):
        reasons.append("no process listens on the service's port")
    reasons.extend(f"{process} is not of {release}" for process in view.processes if process.releases != (release,))
    return reasons


def why_old_may_remain(view: NodeView, release: str) -> list[str]:
    """Reasons for which an old service may be left on the node, or come back; empty when none can.

    Beyond the proof of ``release``: the next start brings it as well, and each process began after the switch to it.
    """
    reasons = why_not_proven(view, release)
    if view.current != release:
        reasons.append(f"current names {view.current}, so the next start would bring that")
    reasons.extend(
        f"{process} began {view.switched - process.started:.1f} s before the switch to {release}"
        for process in view.service_processes
        if process.started < view.switched - CLOCK_SECONDS
    )
    return reasons


def why_not_stopped(view: NodeView) -> list[str]:
    """Reasons for which the service is not completely shut down; empty when it is."""
    reasons = [
        f"{process} is still there" + (", an orphan: it shares the port and is not of the unit" * process.is_orphan)
        for process in view.service_processes
    ]
    if view.active_state not in ("inactive", "failed"):
        reasons.append(f"the unit is {view.active_state} ({view.sub_state})")
    if view.established:
        reasons.append(f"{view.established} connections are established on the service's port")
    return reasons


def proven_release(view: NodeView) -> str | None:
    """The one release that the node is proven to run, or None."""
    named = {release for process in view.service_processes for release in process.releases}
    if len(named) == 1:
        release = named.pop()
        if not why_not_proven(view, release):
            return release
    return None


def unknown_servers(servers: Iterable[ServerView], known: Mapping[str, str], port: int) -> list[str]:
    """Servers of balancers that no node of the fleet accounts for, or that are not at their node's address.

    ``known`` is the address of each node by the name of its server.
    """
    reasons = []
    for view in servers:
        address = known.get(view.server)
        if address is None:
            reasons.append(f"{view.balancer} has a server {view.server} that is no node of the fleet")
        elif not _is_at(view.address, address, port):
            at = view.address or "an address that it does not tell"
            reasons.append(f"{view.balancer} has its server {view.server} at {at}, and the node is at {address}:{port}")
    return reasons


def _is_at(told: str, address: str, port: int) -> bool:
    host, _, told_port = told.rpartition(":")
    try:
        return ipaddress.ip_address(host.strip("[]")) == ipaddress.ip_address(address) and int(told_port) == port
    except ValueError:
        return False


def unknown_sessions(hosts: Sequence[str], known: Iterable[str]) -> list[str]:
    """Database sessions of the service's user (by host) that come from no node of the fleet."""
    accounted = set(known)
    return [
        f"a database session of the service's user comes from {host}, which is no node of the fleet"
        for host in sorted(set(hosts))
        if host not in accounted
    ]
