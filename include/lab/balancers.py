"""The lab's two HAProxies."""

from __future__ import annotations

import csv
import io
import json
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from include.lab import cgroups, templates
from include.lab.commands import spawn
from include.lab.errors import LabError
from include.lab.settings import BACKEND, BALANCERS, SERVICE_PORT, Balancer, LabSettings
from include.lab.waiting import until

ASK_SECONDS = 1.2
NO_STATE = "1\n"
"""A state file without a server; an empty one would be complained about."""


@dataclass(frozen=True)
class ServerState:
    """One node as one balancer sees it."""

    server: str
    status: str
    """HAProxy's word: UP, DOWN, DRAIN, MAINT, with additions such as "UP 1/2"."""
    check: str
    """Result of the last health check, such as L7OK; empty before the first."""
    sessions: int


def _directory(settings: LabSettings) -> Path:
    return settings.state / "balancers"


def _state_file(settings: LabSettings, balancer: Balancer) -> Path:
    return _directory(settings) / f"{balancer.name}.state"


def configuration(settings: LabSettings, balancer: Balancer) -> str:
    """The balancer's haproxy.cfg."""
    return templates.render(
        "haproxy.cfg",
        balancer=balancer,
        nodes=[replace(node, name=names(settings, balancer).get(node.name, node.name)) for node in settings.nodes],
        backend=BACKEND,
        service_port=SERVICE_PORT,
        state_file=_state_file(settings, balancer),
    )


def _names_file(settings: LabSettings, balancer: Balancer) -> Path:
    return _directory(settings) / f"{balancer.name}.names.json"


def names(settings: LabSettings, balancer: Balancer) -> dict[str, str]:
    """What this balancer calls nodes, where that is not their own name: a fault may have renamed some."""
    try:
        found: dict[str, str] = json.loads(_names_file(settings, balancer).read_text())
    except FileNotFoundError:
        return {}
    return found


def rename(settings: LabSettings, balancer: Balancer, names: dict[str, str]) -> None:
    """Let the balancer call nodes by these names from its next start on."""
    file = _names_file(settings, balancer)
    if not names:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(json.dumps(names) + "\n")
    new.replace(file)


def ask(balancer: Balancer, command: str) -> str:
    """Send one command to the runtime API. Raises OSError when it cannot be asked."""
    with socket.create_connection((balancer.address, balancer.admin_port), timeout=ASK_SECONDS) as connection:
        connection.sendall(f"{command}\n".encode())
        chunks = []
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks).decode(errors="replace")


def parse_servers(reply: str) -> list[ServerState]:
    """The nodes in the answer to ``show stat``."""
    rows = csv.DictReader(io.StringIO(reply.removeprefix("# ")))
    return [
        ServerState(row["svname"], row["status"], row["check_status"] or "", int(row["scur"] or 0))
        for row in rows
        if row["pxname"] == BACKEND and row["svname"] not in ("BACKEND", "FRONTEND")
    ]


def servers(balancer: Balancer) -> list[ServerState] | None:
    """The nodes as this balancer sees them, or None if it does not answer."""
    try:
        return parse_servers(ask(balancer, "show stat"))
    except OSError:
        return None


def start(settings: LabSettings, balancer: Balancer) -> None:
    """Start the balancer unless it answers already. A state file that lies there is obeyed."""
    if cgroups.alive(balancer.name) and servers(balancer) is not None:
        return
    cgroups.kill(balancer.name)
    file = _directory(settings) / f"{balancer.name}.cfg"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(configuration(settings, balancer))
    if not _state_file(settings, balancer).is_file():
        _state_file(settings, balancer).write_text(NO_STATE)
    log = settings.logs / f"{balancer.name}.log"
    spawn(["/usr/sbin/haproxy", "-db", "-f", file], group=balancer.name, log=log)
    until(lambda: servers(balancer) is not None, f"balancer {balancer.name} to answer (log: {log})", seconds=20)
    # Obeyed once: after a crash much later it would tell of a state long past.
    _state_file(settings, balancer).write_text(NO_STATE)


def forget_state(settings: LabSettings, balancer: Balancer) -> None:
    """At its next start the balancer knows nothing of what was drained."""
    _state_file(settings, balancer).write_text(NO_STATE)


def restart(settings: LabSettings, balancer: Balancer) -> None:
    """End the balancer and start it again; what was drained stays drained. Open connections are cut."""
    try:
        state = ask(balancer, "show servers state")
    except OSError as error:
        raise LabError(
            f"balancer {balancer.name} cannot be asked for its state: {error}.",
            expected="an answer, so that a drained node stays drained over the restart.",
            safe="the balancer was not touched.",
            next_step="`./lab up` starts what is missing.",
        ) from error
    _state_file(settings, balancer).write_text(state)
    cgroups.kill(balancer.name)
    start(settings, balancer)


def all_up(settings: LabSettings) -> bool:
    """True if every balancer has checked every node over HTTP and has it in rotation."""
    for balancer in BALANCERS:
        seen = servers(balancer) or []
        up = {state.server for state in seen if state.status == "UP" and state.check.startswith("L7OK")}
        if up != {node.name for node in settings.nodes}:
            return False
    return True


def none_down() -> bool:
    """True if every balancer answers and sees every node UP that it was not told to leave out."""
    seen = [servers(balancer) for balancer in BALANCERS]
    return all(states and all(s.status.startswith(("UP", "DRAIN", "MAINT")) for s in states) for states in seen)
