"""Taking the lab down leaves nothing, also when its parts were killed before; and it comes up again from that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from include.demo import lab
from include.lab import settings
from include.lab.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

KILLED = ("systemd-nspawn", "haproxy", "mariadbd", "python")
"""The parents of a node, a balancer, the database and the load."""


def processes() -> dict[int, str]:
    """Every process in a cgroup of the lab, as the kernel tells it, by its command's name.

    Without those that have ended and that init has not yet noticed.
    """
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ended = "\nState:\tZ" in (entry / "status").read_text()
            if not ended and f"/{settings.NAME}/" in (entry / "cgroup").read_text():
                found[int(entry.name)] = (entry / "comm").read_text().strip()
        except OSError:
            continue  # it has ended meanwhile
    return found


def traces() -> list[str]:
    """What else of the lab is on this machine: cgroups, links, mounts."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    return [
        *(str(path) for below in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{below}{settings.NAME}*")),
        *(line for line in links.splitlines() if settings.BRIDGE in line or "glancelab" in line),
        *(line for line in Path("/proc/mounts").read_text().splitlines() if settings.NAME in line),
    ]


def kill(pids: list[int]) -> None:
    """As a crash would end them. They are root's, and whoever runs this may be a user with sudo."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n", "--"]
    subprocess.run([*as_root, "kill", "-KILL", *map(str, pids)], check=True)


def test_nothing_stays_after_parts_were_killed_and_the_lab_comes_up_again() -> None:
    # Given a lab under load, of which one part of each kind is killed
    lab.run("reset", "--release", "26.1.0", "--nodes", "3", nodes=3)
    lab.run("load", "start")
    before = processes()
    victims = [next(pid for pid, name in before.items() if name.startswith(kind)) for kind in KILLED]
    kill(victims)
    until(lambda: not set(victims) & set(processes()), "the end of what was killed", seconds=10)
    assert processes(), "a node outlives its parent, which is what makes this hard"

    # When the lab is taken down, twice
    lab.run("down")
    lab.run("down")

    # Then nothing of it is left
    assert processes() == {}
    assert traces() == []

    # And it comes up again, and goes
    lab.run("up", "--release", "26.1.0")
    status = lab.read_json("status", "--json")
    assert [set(node["rotation"].values()) for node in status["nodes"]] == [{"UP"}] * 3
    assert len(traces()) > 3, "this test knows where to look"
    lab.run("down")
    assert traces() == []
