"""Three servers behind two real HAProxies, with the fleet file and the connections that lead to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.operators.rotation import ReturnToRotationOperator, TakeOutOperator
from rolling_upgrade.operators.service import StartOperator, StopOperator
from rolling_upgrade.services.profile import ServiceProfile
from rolling_upgrade.triggers.waiting import Wait
from tests.integration.parts.backend import Backend, backends
from tests.integration.parts.fleets import NAME, NEW, OLD, context, plan, plan_back, write_fleet
from tests.integration.parts.haproxy import HAProxy, balancer
from tests.integration.parts.processes import free_port
from tests.integration.parts.services import lay_out
from tests.integration.parts.sshd import Sshd

NODES = ("node1", "node2", "node3")
SetConnection = Callable[[str, Mapping[str, object]], None]


@dataclass
class Site:
    """What a step on a node works with, all of it real but the service itself."""

    fleet: Fleet
    servers: dict[str, Backend]
    balancers: tuple[HAProxy, HAProxy]
    profile: ServiceProfile
    set_connection: SetConnection
    ssh: Sshd

    @property
    def root(self) -> Path:
        return Path(self.profile.root)

    def take_out(self, node: str = "node1", *, back: bool = False) -> dict[str, Any]:
        planned = plan_back(self.fleet) if back else None
        return TakeOutOperator(task_id="take_out", fleet=NAME, node=node).execute(context(self.fleet, planned))

    def stop(self, node: str = "node1", **xcoms: object) -> dict[str, Any]:
        """``xcoms`` are the results of earlier tasks."""
        return StopOperator(task_id="stop", fleet=NAME, node=node, drained="drained").execute(
            context(self.fleet, **xcoms)
        )

    def start(self, node: str = "node1", *, back: bool = False, **xcoms: object) -> dict[str, Any]:
        """``xcoms`` are the results of earlier tasks."""
        planned = plan_back(self.fleet) if back else None
        return StartOperator(task_id="start", fleet=NAME, node=node).execute(context(self.fleet, planned, **xcoms))

    def bring_back(self, node: str = "node1") -> dict[str, Any]:
        return ReturnToRotationOperator(task_id="return", fleet=NAME, node=node, left="take_out").execute(
            context(self.fleet)
        )

    def wait(self, node: str = "node1", *, since_seconds: float = 0.0) -> Wait:
        """What a wait for this node works with, as if it had begun that many seconds ago."""
        began = time.time() - since_seconds
        return Wait(self.fleet, self.profile, plan(self.fleet), self.fleet.node(node), began)

    def rotation(self, node: str = "node1") -> list[Rotation]:
        """Its state on each balancer."""
        return [lb.view(node).rotation for lb in self.balancers]

    def set_everywhere(self, node: str, state: Admin) -> None:
        for lb in self.balancers:
            lb.hook().set_state(node, state)

    def cut_off(self, node: str) -> None:
        """Let nothing answer where the workflow looks for that node's SSH."""
        self.set_connection(f"it_{node}", {**self.ssh.connection(), "port": free_port()})

    def reach_over(self, lb: HAProxy, socket: str) -> None:
        """Let the workflow reach that balancer over the UNIX socket of this level."""
        path = str(lb.folder / f"{socket}.sock")
        self.set_connection(f"it_{lb.name}", {"conn_type": "generic", "extra": {"socket": path}})


@contextmanager
def site(
    folder: Path, profile: ServiceProfile, ssh: Sshd, set_connection: SetConnection, *, inter: str = "100ms"
) -> Iterator[Site]:
    """A site for as long as the block lasts; the balancers check every ``inter``."""
    fleet = write_fleet(folder / "fleets", balancers=("lb1", "lb2"))
    ssh.begin()
    for node in fleet.nodes:
        set_connection(node.ssh_connection, ssh.connection(node.address))
    lay_out(Path(profile.root), OLD, NEW, current=OLD)
    with backends(*NODES) as servers:
        lines = {name: (server.port, "check") for name, server in servers.items()}
        with (
            balancer("lb1", folder / "lb1", lines, inter=inter) as lb1,
            balancer("lb2", folder / "lb2", lines, inter=inter) as lb2,
        ):
            for lb in (lb1, lb2):
                lb.until_checked(*NODES)
                set_connection(f"it_{lb.name}", {"conn_type": "generic", "host": "127.0.0.1", "port": lb.admin_port})
            yield Site(fleet, servers, (lb1, lb2), profile, set_connection, ssh)
