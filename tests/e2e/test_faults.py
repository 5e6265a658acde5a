"""Each fault is seen in the world after it was injected, and is gone after it was lifted. All on the real lab.

Whatever is injected here is injected twice and lifted twice, as each must be.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from include.demo import lab
from include.lab import balancers, record, settings, ssh
from include.lab.settings import BACKEND, BALANCERS, SERVICE_PORT, Balancer
from include.lab.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

OLD, NEW = "26.1.0", "28.1.0"
UNIT = "glance-api"
LB1, LB2 = BALANCERS
ADDRESS = {node.name: node.address for node in settings.from_environment().nodes}


@pytest.fixture(autouse=True)
def _every_node_serves(fleet_up: None) -> Iterator[None]:
    """Before each test, and after it, whatever it has broken."""
    yield
    if (settings.from_environment().state / "faults.json").exists():
        run("lift")
    for node in ADDRESS:
        for balancer in BALANCERS:
            rotate(balancer, node, "ready")
        if node_serves(node) != 200:
            on_node(node, "systemctl", "start", UNIT)
    await_all_up()


def await_all_up() -> None:
    lab_now = record.as_recorded(settings.from_environment())
    until(lambda: balancers.all_up(lab_now), "every node UP on every balancer", seconds=40)


def on_node(node: str, *command: str) -> str:
    """What a command on a node prints, run as root over SSH."""
    words = ssh.command(settings.from_environment(), node, list(command), terminal=False)
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def run(*words: str) -> str:
    """What ``./lab fault`` says."""
    done = subprocess.run([lab.COMMAND, "fault", *words], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"fault {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("list", "--json"))
    return found


@contextmanager
def injected(name: str, *words: str) -> Iterator[None]:
    """The fault is there inside, and known to be; afterwards it is neither. Everything twice."""
    assert "injected already" not in run("inject", name, *words)
    assert "injected already" in run("inject", name, *words)
    assert [(one["fault"], one["is_there"]) for one in listed()] == [(name, True)]
    yield
    assert "lifted" in run("lift", name)
    assert not (settings.from_environment().state / "faults.json").exists()
    assert "nothing of that is injected" in run("lift", name)


def get(address: str, port: int, path: str = "/v2/images?limit=1", seconds: float = 5) -> int | None:
    """The status of one request; None where there is no answer."""
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def node_serves(node: str, path: str = "/v2/images?limit=1", seconds: float = 5) -> int | None:
    return get(ADDRESS[node], SERVICE_PORT, path, seconds)


def greets(node: str, seconds: float = 1.5) -> bool:
    """Whether sshd says who it is."""
    try:
        with socket.create_connection((ADDRESS[node], 22), timeout=seconds) as connection:
            connection.settimeout(seconds)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def rotate(balancer: Balancer, server: str, state: str) -> None:
    assert balancers.ask(balancer, f"set server {BACKEND}/{server} state {state}").strip() == ""


def seen(balancer: Balancer) -> dict[str, balancers.ServerState]:
    return {state.server: state for state in balancers.servers(balancer) or []}


def shown(node: str, *properties: str) -> list[str]:
    """Properties of the unit, in the order asked for."""
    lines = on_node(node, "systemctl", "show", "-p", ",".join(properties), UNIT).split()
    values = dict(line.split("=", 1) for line in lines)
    return [values[name] for name in properties]


def test_a_frozen_node_answers_nobody_and_goes_on_where_it_was() -> None:
    before = shown("node1", "MainPID")
    with injected("node-freeze", "--node", "node1"):
        assert not greets("node1")
        assert node_serves("node1", seconds=1.5) is None
        assert node_serves("node2") == 200
    assert greets("node1")
    assert node_serves("node1") == 200
    assert shown("node1", "MainPID") == before


def test_a_node_without_power_comes_back_with_its_disk() -> None:
    on_node("node2", "sh", "-c", "echo kept > /var/tmp/kept; sync")
    boot = on_node("node2", "cat", "/proc/1/stat").split()[21]
    with injected("node-power-off", "--node", "node2"):
        assert not greets("node2")
        status = lab.read_json("status", "--json")
        assert [node["running"] for node in status["nodes"]] == [True, False, True]
    assert on_node("node2", "cat", "/var/tmp/kept") == "kept\n"
    assert on_node("node2", "cat", "/proc/1/stat").split()[21] != boot, "it was booted"
    until(lambda: node_serves("node2") == 200, "its Glance to serve", seconds=30)


def test_a_cut_breaks_ssh_old_and_new_while_glance_serves() -> None:
    words = [str(lab.COMMAND), "shell", "node1", "--", "sh", "-c", "echo in; sleep 60"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "in\n"
        began = time.monotonic()
        with injected("ssh-cut", "--node", "node1"):
            assert session.wait(10) != 0
            assert time.monotonic() - began < 20, "it was cut, and did not end by itself"
            with pytest.raises(TimeoutError):
                socket.create_connection((ADDRESS["node1"], 22), timeout=1.5)
            assert node_serves("node1") == 200
            assert greets("node2")
    assert on_node("node1", "echo", "back") == "back\n"


def test_a_balancer_that_cannot_be_reached_balances_on() -> None:
    with injected("balancer-unreachable", "--balancer", "lb1"):
        with pytest.raises(TimeoutError):
            socket.create_connection((LB1.address, LB1.admin_port), timeout=1.5)
        assert get(LB1.address, LB1.frontend_port) == 200
        assert set(seen(LB2)) == set(ADDRESS)
    assert set(seen(LB1)) == set(ADDRESS)


def test_a_restarted_balancer_has_forgotten_the_drain() -> None:
    rotate(LB1, "node3", "drain")
    rotate(LB2, "node3", "drain")
    before = balancers.ask(LB2, "show info")
    assert "once" not in run("inject", "balancer-restart", "--balancer", "lb2")
    assert listed() == []
    assert seen(LB1)["node3"].status.startswith("DRAIN")
    assert not seen(LB2)["node3"].status.startswith("DRAIN")
    pid = re.compile(r"^Pid: (\d+)$", re.MULTILINE)
    assert pid.findall(before) != pid.findall(balancers.ask(LB2, "show info"))


def test_a_wrong_name_is_on_one_balancer_and_drains_stay() -> None:
    rotate(LB1, "node3", "drain")
    with injected("wrong-server-name", "--balancer", "lb1", "--node", "node2"):
        assert set(seen(LB1)) == {"node1", "node2-renamed", "node3"}
        assert set(seen(LB2)) == {"node1", "node2", "node3"}
        assert seen(LB1)["node3"].status.startswith("DRAIN")
        assert get(LB1.address, LB1.frontend_port) == 200
    assert set(seen(LB1)) == {"node1", "node2", "node3"}
    assert seen(LB1)["node3"].status.startswith("DRAIN")


def test_a_stop_hangs_until_its_timeout_or_until_the_fault_is_lifted() -> None:
    with injected("stop-hangs", "--node", "node1", "--seconds", "3"):
        began = time.monotonic()
        on_node("node1", "systemctl", "stop", UNIT)
        assert time.monotonic() - began > 3
        assert shown("node1", "ActiveState", "Result") == ["failed", "timeout"]
    on_node("node1", "systemctl", "start", UNIT)

    with injected("stop-hangs", "--node", "node1"):
        on_node("node1", "systemctl", "stop", "--no-block", UNIT)
        until(lambda: shown("node1", "ActiveState") == ["deactivating"], "the stop to hang", seconds=5)
    until(lambda: shown("node1", "ActiveState") == ["inactive"], "the stop to go on", seconds=10)
    on_node("node1", "systemctl", "start", UNIT)
    until(lambda: node_serves("node1") == 200, "node1 to serve", seconds=30)
    on_node("node1", "systemctl", "stop", UNIT)
    assert shown("node1", "ActiveState", "Result") == ["inactive", "success"]


def test_errors_come_from_one_node_whose_health_check_is_well() -> None:
    with injected("error-responses", "--node", "node3"):
        assert [node_serves("node3") for _ in range(4)] == [500] * 4
        assert node_serves("node3", "/healthcheck") == 200
        assert node_serves("node1") == 200
        assert seen(LB1)["node3"].status == "UP"
    assert [node_serves("node3") for _ in range(4)] == [200] * 4


def test_a_full_disk_takes_nothing_and_gives_back_what_was_changed() -> None:
    with injected("full-disk", "--node", "node1"):
        assert on_node("node1", "df", "--output=avail", "-B1", "/opt/glance").split()[-1] == "0"
        with pytest.raises(subprocess.CalledProcessError) as refused:
            on_node("node1", "sh", "-c", "LC_ALL=C head -c 100000 /dev/zero > /opt/glance/releases/more")
        assert "No space left" in refused.value.stderr
        assert on_node("node1", "readlink", "/opt/glance/current").strip() == f"releases/{OLD}"
        # A symlink takes no space, so that a switch still works; it must not be lost.
        on_node("node1", "ln", "-s", "releases/none", "/opt/glance/kept")
        on_node("node1", "rm", f"/opt/glance/releases/{OLD}/.complete")
    assert on_node("node1", "readlink", "/opt/glance/kept").strip() == "releases/none"
    on_node("node1", "test", "!", "-e", f"/opt/glance/releases/{OLD}/.complete")
    on_node("node1", "touch", f"/opt/glance/releases/{OLD}/.complete")
    on_node("node1", "rm", "/opt/glance/kept", "/opt/glance/releases/more")
    assert int(on_node("node1", "df", "--output=avail", "-B1", "/opt/glance").split()[-1]) > 2**20
    assert shown("node1", "ActiveState") == ["active"]
    assert node_serves("node1") == 200


def test_a_release_that_crash_loops_has_tools_that_work() -> None:
    with injected("crash-loop", "--node", "node2", "--release", OLD):
        assert node_serves("node2") == 200, "what runs is not touched"
        on_node("node2", "systemctl", "restart", UNIT)
        until(lambda: int(shown("node2", "NRestarts")[0]) >= 2, "two restarts", seconds=20)
        assert node_serves("node2", "/healthcheck") is None
        assert OLD in on_node("node2", f"/opt/glance/releases/{OLD}/bin/glance-manage", "--version")
    until(lambda: node_serves("node2") == 200, "the next restart to work", seconds=30)


def archive_sums(version: str) -> tuple[str, str]:
    """The checksum that the archive has, and the one that is written beside it."""
    archive = settings.from_environment().archives / f"glance-{version}.tar.gz"
    said = subprocess.run(["sha256sum", archive], capture_output=True, text=True, check=True).stdout
    return said.split()[0], Path(f"{archive}.sha256").read_text().split()[0]


def test_a_corrupt_archive_does_not_have_its_checksum() -> None:
    before = archive_sums(NEW)
    with injected("corrupt-archive", "--release", NEW):
        found, written = archive_sums(NEW)
        assert written == before[1]
        assert found != written
    assert archive_sums(NEW) == before


def test_a_broken_archive_has_its_checksum_and_what_came_of_it_is_mended() -> None:
    before = archive_sums(NEW)
    archive = settings.from_environment().archives / f"glance-{NEW}.tar.gz"
    programs = [f"{NEW}/bin/glance-api", f"{NEW}/bin/glance-api.before-fault"]
    with injected("crash-loop", "--release", NEW, "--archive"):
        found, written = archive_sums(NEW)
        assert found == written != before[0]
        # Staged by hand, of which only the programs matter here.
        on_node("node3", "mkdir", "-p", f"/opt/glance/releases/{NEW}")
        with archive.open("rb") as content:
            words = ["tar", "-xzf", "-", "-C", "/opt/glance/releases", *programs]
            subprocess.run([lab.COMMAND, "shell", "node3", "--", *words], stdin=content, check=True, timeout=60)
        assert "a fault that was injected" in on_node("node3", "cat", f"/opt/glance/releases/{programs[0]}")
    assert archive_sums(NEW) == before
    assert "glance.cmd.api" in on_node("node3", "cat", f"/opt/glance/releases/{programs[0]}")
    assert on_node("node3", "ls", f"/opt/glance/releases/{NEW}/bin").split() == ["glance-api"]
    on_node("node3", "rm", "-r", f"/opt/glance/releases/{NEW}")


def test_orphans_serve_beside_the_unit_and_without_it() -> None:
    def listeners() -> set[str]:
        return set(re.findall(r"pid=(\d+)", on_node("node3", "ss", "-Hltnp", f"sport = :{SERVICE_PORT}")))

    own = listeners()
    with injected("orphans", "--node", "node3", "--release", OLD):
        orphans = listeners() - own
        assert orphans
        for pid in orphans:
            assert f"/releases/{OLD}/" in on_node("node3", "cat", f"/proc/{pid}/cmdline")
            assert f"{UNIT}.service" not in on_node("node3", "cat", f"/proc/{pid}/cgroup")
        on_node("node3", "systemctl", "stop", UNIT)
        assert listeners() == orphans
        assert node_serves("node3") == 200
        on_node("node3", "systemctl", "start", UNIT)
        until(lambda: len(listeners()) > len(orphans), "the unit's own to listen again", seconds=30)
        own = listeners() - orphans
    assert listeners() == own


@pytest.mark.parametrize("way", [["--upload", "--balancer", "lb2"], []], ids=["upload", "download"])
def test_a_slow_transfer_lasts_and_is_whole_when_it_is_let_finish(way: list[str]) -> None:
    balancer = LB2 if way else LB1
    with injected("slow-transfer", "--node", "node2", *way):
        rotate(balancer, "node2", "drain")
        # Kept up for a while, after which a buffer would have swallowed it.
        until_over = time.monotonic() + 3
        until(lambda: seen(balancer)["node2"].sessions != 1 or time.monotonic() > until_over, "some time", seconds=5)
        assert seen(balancer)["node2"].sessions == 1
        assert ": running, " in listed()[0]["detail"]
        lifted = json.loads(run("lift", "--json"))
        assert ": whole, 67108864 of 67108864 bytes" in lifted[0]["detail"]
        assert run("inject", "slow-transfer", "--node", "node1", "--seconds", "1")
    rotate(balancer, "node2", "ready")
    connection = http.client.HTTPConnection(LB1.address, LB1.frontend_port, timeout=5)
    connection.request("GET", "/v2/images?name=slow-transfer")
    assert json.loads(connection.getresponse().read())["images"] == []
    connection.close()


def test_a_command_that_was_killed_leaves_nothing_that_cannot_be_lifted() -> None:
    before = archive_sums(NEW)
    noted = settings.from_environment().state / "faults.json"
    words = [str(lab.COMMAND), "fault", "inject", "crash-loop", "--archive", "--release", NEW]
    with subprocess.Popen(words, start_new_session=True) as command:
        until(noted.exists, "the injection to begin", seconds=20, every=0.01)
        kill_group(command.pid)
    assert [(one["fault"], one["done"]) for one in listed()] == [("crash-loop", False)]
    run("lift")
    assert listed() == []
    assert archive_sums(NEW) == before
    left = [file.name for file in settings.from_environment().archives.iterdir() if file.name.startswith(".")]
    assert left == []


def kill_group(leader: int) -> None:
    """It is root's, and whoever runs this may be a user with sudo."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n", "--"]
    subprocess.run([*as_root, "kill", f"-{signal.SIGKILL.value}", "--", f"-{leader}"], check=True)


def _reset() -> None:
    lab.run("reset", "--release", OLD, "--nodes", "3", nodes=3)


def _down_and_up() -> None:
    lab.run("down")
    lab.run("up", "--release", OLD, nodes=3)


@pytest.mark.parametrize("anew", [_reset, _down_and_up], ids=["reset", "down"])
def test_making_the_lab_anew_ends_every_fault(anew: Callable[[], None]) -> None:
    before = archive_sums(OLD)
    run("inject", "corrupt-archive", "--release", OLD)
    run("inject", "slow-transfer", "--node", "node3")
    run("inject", "wrong-server-name", "--node", "node1", "--balancer", "lb1")
    run("inject", "ssh-cut", "--node", "node1")
    run("inject", "full-disk", "--node", "node2")
    run("inject", "node-freeze", "--node", "node2")
    run("inject", "balancer-unreachable", "--balancer", "lb1")
    began = time.monotonic()
    anew()
    assert time.monotonic() - began < 60, "a corrupt archive must not be built anew"
    assert listed() == []
    assert archive_sums(OLD) == before
    await_all_up()
    assert [greets(node) for node in ADDRESS] == [True] * 3
    assert not any(group.startswith("fault") for group in lab.read_json("status", "--json")["groups"])


def test_an_up_refuses_to_fight_a_fault() -> None:
    run("inject", "balancer-unreachable", "--balancer", "lb2")
    before = shown("node1", "MainPID")
    done = subprocess.run([lab.COMMAND, "up"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "balancer-unreachable on lb2" in done.stderr
    assert "./lab fault lift" in done.stderr
    assert [one["is_there"] for one in listed()] == [True]
    assert shown("node1", "MainPID") == before
