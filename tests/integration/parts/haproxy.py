"""A real HAProxy on loopback, with its runtime API over TCP and over UNIX sockets of every level."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rolling_upgrade.decisions.rotation import Rotation, ServerView
from rolling_upgrade.fleet.inventory import Balancer
from rolling_upgrade.hooks.balancer import BalancerHook
from tests.integration.parts.processes import Program, free_port, listens, program, until

BACKEND = "service"
CONFIGURATION = """\
global
    maxconn 200
    log stdout format raw local0
    stats socket ipv4@127.0.0.1:{admin_port} level admin
    stats socket {folder}/admin.sock mode 600 level admin
    stats socket {folder}/operator.sock mode 600 level operator
    stats socket {folder}/user.sock mode 600 level user

defaults
    mode http
    timeout connect 2s
    timeout check 2s
    timeout queue 30s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s

frontend in
    bind 127.0.0.1:{port}
    default_backend {backend}

backend {backend}
    balance roundrobin
    option httpchk GET /healthcheck
    http-check expect status 200
    default-server inter {inter} fall 2 rise 2
{servers}
"""


class HAProxy:
    """One balancer. ``servers`` gives for each server name its port and its own words, such as ``check``."""

    def __init__(
        self, name: str, folder: Path, servers: Mapping[str, tuple[int, str]], *, inter: str = "100ms"
    ) -> None:
        self.name = name
        self.folder = folder
        self.port = free_port()
        self.admin_port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._configuration = folder / "haproxy.cfg"
        lines = [f"    server {server} 127.0.0.1:{port} {words}" for server, (port, words) in servers.items()]
        self._configuration.write_text(
            CONFIGURATION.format(
                folder=folder,
                admin_port=self.admin_port,
                port=self.port,
                backend=BACKEND,
                inter=inter,
                servers="\n".join(lines),
            )
        )
        self._program: Program | None = None

    @property
    def fleet_entry(self) -> Balancer:
        return Balancer(name=self.name, connection=f"it_{self.name}", backend=BACKEND)

    def hook(self, socket: str | None = None) -> BalancerHook:
        """Over TCP, or over the UNIX socket of that level."""
        address = ("127.0.0.1", self.admin_port) if socket is None else str(self.folder / f"{socket}.sock")
        return BalancerHook(self.fleet_entry, address)

    @property
    def log(self) -> str:
        """What it said since it was made, without the quotes that some versions put around names."""
        return (self.folder / "haproxy.log").read_text(errors="replace").replace("'", "")

    def view(self, server: str) -> ServerView:
        return next(view for view in self.hook().servers() if view.server == server)

    def start(self) -> None:
        command = [program("haproxy", "haproxy"), "-db", "-f", str(self._configuration)]
        self._program = Program(command, self.folder / "haproxy.log")
        self._program.until(lambda: listens(self.admin_port) and listens(self.port), f"HAProxy {self.name}")

    def point(self, server: str, address: str, port: int) -> None:
        """Send what goes to that server elsewhere."""
        with socket.create_connection(("127.0.0.1", self.admin_port), timeout=5) as connection:
            connection.sendall(f"set server {BACKEND}/{server} addr {address} port {port}\n".encode())
            connection.recv(4096)
        told = f"{address}:{port}"
        until(lambda: self.view(server).address == told, f"{server} at {told} on {self.name}")

    def without_checks(self, server: str) -> None:
        """Start again with that server not health-checked."""
        lines = self._configuration.read_text().splitlines(keepends=True)
        mine = f"    server {server} "
        changed = [line.replace(" check", "") if line.startswith(mine) else line for line in lines]
        self._configuration.write_text("".join(changed))
        self.restart()
        self.until_status(server, "no check")

    def stop(self) -> None:
        """End it at once, as a crash does: transfers and states are gone."""
        if self._program:
            self._program.end(signal.SIGKILL)
            self._program = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def until_rotation(self, server: str, rotation: Rotation, *, seconds: float = 10.0) -> None:
        until(
            lambda: self.view(server).rotation is rotation, f"{server} {rotation.value} on {self.name}", seconds=seconds
        )

    def until_status(self, server: str, status: str) -> None:
        """Until HAProxy's own word for the server begins like that; a drain hides a DOWN from the rotation state."""
        until(lambda: self.view(server).status.startswith(status), f"{server} {status} on {self.name}")

    def until_checked(self, *servers: str) -> None:
        """Until a health check of each server has passed: before the first, HAProxy shows UP without one."""
        for server in servers:
            until(lambda name=server: self._well(name), f"a passed check of {server} on {self.name}")  # type: ignore[misc]

    def _well(self, server: str) -> bool:
        view = self.view(server)
        # A suffix, as in `UP 1/2`, means that the check shown is from before a maintenance, or that one failed.
        return view.check_passed and view.status == "UP"


@contextmanager
def balancer(
    name: str, folder: Path, servers: Mapping[str, tuple[int, str]], *, inter: str = "100ms"
) -> Iterator[HAProxy]:
    """A balancer for as long as the block lasts."""
    made = HAProxy(name, folder, servers, inter=inter)
    try:
        made.start()
        yield made
    finally:
        made.stop()
