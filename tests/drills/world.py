"""The fleet as a person would find it: what runs, who is out, whose unit is held, where the schema is."""

from __future__ import annotations

import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from include.demo import lab
from include.lab import settings
from rolling_upgrade.decisions.rotation import Rotation
from tests.drills.drill import NODES, State
from tests.drills.watch import hooks, rotations
from tests.e2e.rehearsal import on_node

HOLD = "/etc/systemd/system/glance-api.service.d/90-rolling-upgrade.conf"
_ASK = f"test -e {HOLD} && echo held || echo free; systemctl show -p MainPID --value glance-api"
_NOT_RUNNING = "-"


@dataclass(frozen=True)
class Unit:
    """What a node says of its service's unit."""

    held: bool
    main_pid: str


def unit(node: str) -> Unit | None:
    """Asked over SSH; None where the node gives no answer."""
    try:
        hold, pid = on_node(node, "sh", "-c", _ASK).split()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, ValueError):
        return None
    return Unit(hold == "held", pid)


def units(nodes: tuple[str, ...]) -> dict[str, Unit | None]:
    with ThreadPoolExecutor(len(NODES)) as pool:
        return dict(zip(nodes, pool.map(unit, nodes), strict=True))


def listens(node: str) -> bool:
    """Whether anything takes connections on the service's port of the node."""
    address = next(one.address for one in settings.from_environment().nodes if one.name == node)
    try:
        with socket.create_connection((address, settings.SERVICE_PORT), timeout=2):
            return True
    except OSError:
        return False


def differences(expected: State) -> list[str]:
    """What of the fleet is not so now; empty when all is."""
    status = lab.read_json("status", "--json")
    found = {
        node["name"]: "+".join(release.split(".")[0] for release in node["releases"]) or _NOT_RUNNING
        for node in status["nodes"]
    }
    wrong = [
        f"{node} runs {found[node]}, expected {series}"
        for node, series in zip(NODES, expected.runs.split(), strict=True)
        if series not in ("?", found[node])
    ]
    if tuple(sorted(status["database_heads"])) != tuple(sorted(expected.heads)):
        wrong.append(f"the schema is at {status['database_heads']}, expected {list(expected.heads)}")
    return [*wrong, *_about_rotation(expected), *_about_units(expected)]


def _about_rotation(expected: State) -> list[str]:
    wrong = []
    for hook in hooks():
        said = rotations(hook)
        if (said is None) != (hook.name in expected.silent):
            wrong.append(f"{hook.name} {'gives no' if said is None else 'gives an'} answer")
        for server, rotation in (said or {}).items():
            good = {Rotation.IN}
            if server in expected.out:
                good = {Rotation.DRAINING, Rotation.MAINTENANCE}
            elif server in expected.down:
                good = {Rotation.DOWN}
            if rotation not in good:
                wrong.append(f"{server} on {hook.name} is {rotation.value}, expected {'/'.join(r.value for r in good)}")
    return wrong


def _about_units(expected: State) -> list[str]:
    wrong = []
    for node, found in units(tuple(node for node in NODES if node not in expected.silent)).items():
        if found is None:
            wrong.append(f"{node} cannot be asked over SSH")
        elif found.held != (node in expected.held):
            wrong.append(f"the unit of {node} is {'held' if found.held else 'not held'}")
    return wrong


def is_active(node: str, unit_name: str) -> bool:
    """Whether a unit of that name is at work on the node."""
    return on_node(node, "systemctl", "show", "-p", "SubState", "--value", unit_name).strip() == "running"
