"""Every name, address, port and path of the lab, in one place.

The lab is one per machine: its bridge, machines and cgroups have fixed names, so that a new run can find and
end what an earlier one left behind, also from another clone. What may be chosen comes from the environment
(``GLANCE_LAB_*``). Addresses are from 198.18.0.0/15, reserved for tests of networks (RFC 2544), so they
meet no network that a machine is likely to be in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The top of the clone this module was read from."""

NAME = "glance-lab"
"""Prefix of machine names and name of the lab's cgroup in every hierarchy."""

MAX_NODES = 8
DEFAULT_RELEASE = "26.1.0"
RUNTIME = Path("/run") / NAME
"""Sockets and network namespaces; its path is short, as those of sockets must be."""
LOCK_FILE = Path("/run/lock") / f"{NAME}.lock"
"""Held by a command of the lab while it changes the lab."""
SESSION_FILE = Path("/run/lock") / f"{NAME}-session.lock"
"""Held by a demo or a test for its whole length."""
BRIDGE = "glancelab0"
NETWORK = "198.18.26.0/24"
HOST_ADDRESS = "198.18.26.1"
"""The machine itself on the lab's bridge: here the nodes reach the database."""

SERVICE_PORT = 9292
DATABASE_PORT = 13306
DATABASE_NAME = "glance"
DATABASE_SERVICE_USER = "glance"
"""What Glance itself logs in as."""
DATABASE_OPERATOR_USER = "upgrade"
"""What the workflow logs in as: backup, session list, schema heads."""

DATABASE_UID = 64926
"""MariaDB runs as this number, which no account has."""
GLANCE_UID = 64062
"""User and group of Glance on the nodes, as in ``provision.sh``; the shared images belong to it."""

NODE_USER = "rollout"
"""The SSH user of the workflow on a node; it has sudo."""

BACKEND = "glance_api"
"""Name of the HAProxy backend that holds the nodes."""

AIRFLOW_PORT = 18080


@dataclass(frozen=True)
class Balancer:
    """One HAProxy: where clients come in and where its runtime API listens (loopback only)."""

    name: str
    frontend_port: int
    admin_port: int
    address: str = "127.0.0.1"


BALANCERS = (
    Balancer("lb1", frontend_port=19291, admin_port=19981),
    Balancer("lb2", frontend_port=19292, admin_port=19982),
)


@dataclass(frozen=True)
class Node:
    """One machine of the fleet: its name, its address, and the machine name it has on the host."""

    name: str
    address: str

    @property
    def machine(self) -> str:
        return f"{NAME}-{self.name}"


@dataclass(frozen=True)
class LabSettings:
    """What one lab looks like."""

    node_count: int
    state: Path
    """Everything a running lab writes; removed by ``purge``, emptied by a wiped ``up``."""
    cache: Path
    """Root file system and release archives, built once."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(f"node{i}", f"198.18.26.{10 + i}") for i in range(1, self.node_count + 1))

    @property
    def archives(self) -> Path:
        """Release archives ``glance-<version>.tar.gz`` with a ``.sha256`` beside each."""
        return self.cache / "releases"

    @property
    def access(self) -> Path:
        """What the workflow needs to reach the lab: SSH key, host keys, ``connections.json``."""
        return self.state / "access"

    @property
    def images(self) -> Path:
        """The image store that all nodes share."""
        return self.state / "images"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def backups(self) -> Path:
        return self.state / "backups"

    @property
    def load(self) -> Path:
        """Operations and result of the load."""
        return self.state / "load"


def from_environment(environment: Mapping[str, str] | None = None) -> LabSettings:
    """Read ``GLANCE_LAB_NODES`` (1 to 8), ``GLANCE_LAB_STATE`` and ``GLANCE_LAB_CACHE``.

    Raises ValueError, naming the value and what is allowed.
    """
    env = os.environ if environment is None else environment
    raw = env.get("GLANCE_LAB_NODES", "3")
    if not raw.isdecimal() or not 1 <= int(raw) <= MAX_NODES:
        raise ValueError(f"GLANCE_LAB_NODES is {raw!r}; expected a number from 1 to {MAX_NODES}. Nothing was changed.")
    return LabSettings(
        node_count=int(raw),
        state=Path(env.get("GLANCE_LAB_STATE", "/var/lib/glance-lab")),
        cache=Path(env.get("GLANCE_LAB_CACHE", "/var/cache/glance-lab")),
    )
