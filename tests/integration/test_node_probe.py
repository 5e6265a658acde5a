"""NodeHook.observe: the release that runs is read from real processes."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from rolling_upgrade.decisions.proof import proven_release, why_not_proven, why_not_stopped
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.fleet.inventory import Node
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.services.profile import ServiceProfile
from tests.integration.parts.fleets import NEW, OLD
from tests.integration.parts.processes import running, until
from tests.integration.parts.services import lay_out, service
from tests.integration.parts.site import SetConnection
from tests.integration.parts.sshd import Sshd

pytestmark = pytest.mark.integration

NODE = Node(name="node1", address="127.0.0.1", ssh_connection="it_node1")


@pytest.fixture
def node(ssh_server: Sshd, set_connection: SetConnection) -> NodeHook:
    ssh_server.says("active", "running", 0)
    set_connection("it_node1", ssh_server.connection())
    return NodeHook.from_connection(NODE)


def test_a_service_is_proven_by_its_process(node: NodeHook, small_service: ServiceProfile) -> None:
    root = Path(small_service.root)
    lay_out(root, OLD, NEW, current=OLD)
    with service(root, f"releases/{OLD}", small_service.port) as process:
        view = node.observe(small_service)

    assert (view.active_state, view.sub_state, view.restarts) == ("active", "running", 0)
    assert (view.current, view.complete_releases, view.established) == (OLD, (OLD, NEW), 0)
    assert [(p.pid, p.releases, p.listens) for p in view.processes] == [(process.pid, (OLD,), True)]
    assert proven_release(view) == OLD
    assert why_not_proven(view, OLD) == []
    assert why_not_proven(view, NEW)


def test_an_orphan_that_shares_the_port_is_seen_beside_the_service(
    node: NodeHook, small_service: ServiceProfile
) -> None:
    root, port = Path(small_service.root), small_service.port
    lay_out(root, OLD, NEW, current=OLD)
    with service(root, f"releases/{OLD}", port) as wanted, service(root, f"releases/{NEW}", port) as orphan:
        view = node.observe(small_service)

    assert {(p.pid, p.releases, p.listens) for p in view.processes} == {
        (wanted.pid, (OLD,), True),
        (orphan.pid, (NEW,), True),
    }
    assert proven_release(view) is None
    assert why_not_proven(view, OLD) == [f"{p} is not of {OLD}" for p in view.processes if p.pid == orphan.pid]


def test_a_process_started_through_the_symlink_is_told_by_the_files_it_maps(
    node: NodeHook, small_service: ServiceProfile
) -> None:
    root = Path(small_service.root)
    lay_out(root, OLD, NEW, current=OLD)
    with service(root, "current", small_service.port) as process:
        (root / "current").unlink()
        (root / "current").symlink_to(f"releases/{NEW}")
        view = node.observe(small_service)

    assert view.current == NEW, "the symlink says new"
    assert [(p.pid, p.releases) for p in view.processes] == [(process.pid, (OLD,))], "the process is old"
    assert f"{root}/current/" in view.processes[0].command
    assert proven_release(view) == OLD


def test_a_stranger_on_the_port_proves_nothing(node: NodeHook, small_service: ServiceProfile) -> None:
    lay_out(Path(small_service.root), OLD, current=OLD)
    with socket.create_server(("127.0.0.1", small_service.port)):
        view = node.observe(small_service)

    assert [(p.pid, p.releases, p.listens) for p in view.processes] == [(os.getpid(), (), True)]
    assert proven_release(view) is None
    assert why_not_proven(view, OLD)


@pytest.mark.parametrize("started_by", [[], [sys.executable, "-I"]], ids=["itself", "its interpreter"])
def test_a_program_of_the_service_from_elsewhere_is_of_no_release(
    node: NodeHook, small_service: ServiceProfile, tmp_path: Path, started_by: list[str]
) -> None:
    """As a distribution's package brings one: it neither listens on the port nor is in the unit."""
    root = Path(small_service.root)
    lay_out(root, NEW, current=NEW)
    api = tmp_path / "bin" / "small-api"
    api.parent.mkdir()
    api.write_text(f"#!{sys.executable} -I\nimport time\ntime.sleep(60)\n")
    api.chmod(0o755)
    with (
        service(root, f"releases/{NEW}", small_service.port) as wanted,
        running([*started_by, str(api), "--config-file", "/etc/small.conf"], tmp_path / "api.log") as elsewhere,
    ):
        until(lambda: str(api) in command_of(elsewhere.pid), "the program to be what it will be")
        view = node.observe(small_service)

    assert {(p.pid, p.releases, p.listens, p.in_unit) for p in view.processes} == {
        (wanted.pid, (NEW,), True, False),
        (elsewhere.pid, (), False, False),
    }
    (reason,) = why_not_proven(view, NEW)
    assert reason.startswith(f"pid {elsewhere.pid} (")
    assert reason.endswith(f"release unknown is not of {NEW}")


@pytest.mark.parametrize(
    "name",
    [
        "small-api.conf",
        "smaller-api",
        "small-2",
        "small-api",
    ],
)
def test_who_only_looks_at_the_service_is_not_taken_for_it(
    node: NodeHook, small_service: ServiceProfile, tmp_path: Path, name: str
) -> None:
    """As ``journalctl -u small-api`` and ``less /var/log/small-api`` do."""
    lay_out(Path(small_service.root), NEW, current=NEW)
    looked_at = tmp_path / name
    looked_at.touch()
    with running(["tail", "-f", str(looked_at)], tmp_path / "tail.log") as looks:
        until(lambda: str(looked_at) in command_of(looks.pid), "the program to be what it will be")
        view = node.observe(small_service)

    assert view.processes == ()


def command_of(pid: int) -> str:
    """Its command line after setpriv has become it."""
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return "" if "setpriv" in command else command


def test_open_connections_are_counted_on_the_services_side_only(node: NodeHook, small_service: ServiceProfile) -> None:
    root, port = Path(small_service.root), small_service.port
    lay_out(root, OLD, current=OLD)
    with service(root, f"releases/{OLD}", port):
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert node.observe(small_service).established == 2
            assert node.established(port) == 2
        assert "connections are established" not in "; ".join(why_not_stopped(node.observe(small_service)))


def test_a_stopped_service_leaves_nothing(node: NodeHook, ssh_server: Sshd, small_service: ServiceProfile) -> None:
    lay_out(Path(small_service.root), OLD, NEW, current=NEW)
    ssh_server.says("inactive", "dead", 2)

    view = node.observe(small_service)

    assert (view.processes, view.restarts, view.current) == ((), 2, NEW)
    assert why_not_stopped(view) == []
    assert why_not_proven(view, NEW) == ["no process listens on the service's port"]


def test_a_tree_that_is_not_complete_is_not_counted(node: NodeHook, small_service: ServiceProfile) -> None:
    root = Path(small_service.root)
    lay_out(root, OLD, NEW, current=OLD)
    (root / "releases" / NEW / ".complete").unlink()

    assert node.observe(small_service).complete_releases == (OLD,)


def test_a_node_with_no_layout_yet_can_be_observed(node: NodeHook, small_service: ServiceProfile) -> None:
    view = node.observe(small_service)

    assert (view.current, view.complete_releases, view.processes) == (None, (), ())


def test_a_systemctl_that_fails_proves_nothing(node: NodeHook, ssh_server: Sshd, small_service: ServiceProfile) -> None:
    ssh_server.unit.unlink()

    with pytest.raises(VerifyError, match=r"(?s)on node1 ended with 1: .*systemctl"):
        node.observe(small_service)
