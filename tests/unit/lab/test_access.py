"""What the lab writes for the workflow and for the person."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import paramiko
import pytest
import yaml

from include.lab import access, ssh
from include.lab.errors import LabError
from include.lab.settings import LabSettings, from_environment
from rolling_upgrade.fleet import inventory


@pytest.fixture
def settings(tmp_path: Path) -> LabSettings:
    return from_environment({"GLANCE_LAB_STATE": str(tmp_path / "state"), "GLANCE_LAB_CACHE": str(tmp_path / "cache")})


def test_the_fleet_of_the_default_lab_is_the_shipped_one() -> None:
    shipped = yaml.safe_load(access.FLEET_TEMPLATE.read_text(encoding="utf-8"))
    assert access.fleet(from_environment({})) == shipped


def test_the_fleet_of_another_lab_has_its_nodes_and_paths(tmp_path: Path) -> None:
    settings = from_environment({"GLANCE_LAB_NODES": "5", "GLANCE_LAB_STATE": str(tmp_path), "GLANCE_LAB_CACHE": "/c"})
    access.write(settings)
    fleet = inventory.load(access.fleet_file(settings))
    assert fleet.node_names == ("node1", "node2", "node3", "node4", "node5")
    assert fleet.nodes[4].ssh_connection == "lab_node5"
    assert fleet.releases.archives == "/c/releases"
    assert fleet.backup.directory == str(tmp_path / "backups")


def test_every_connection_of_the_fleet_is_there_and_checks_host_keys(settings: LabSettings) -> None:
    access.write(settings)
    fleet = inventory.load(access.fleet_file(settings))
    connections = json.loads((settings.access / "connections.json").read_text())
    named = {node.ssh_connection for node in fleet.nodes} | {balancer.connection for balancer in fleet.balancers}
    named |= {fleet.database.connection, fleet.database.service_connection}
    assert set(connections) == named
    for node in fleet.nodes:
        extra = connections[node.ssh_connection]["extra"]
        assert extra["no_host_key_check"] is False
        assert extra["host_key"].startswith("ssh-ed25519 AAAA")


def test_secrets_are_for_their_owner_alone(settings: LabSettings) -> None:
    access.write(settings)
    private = [
        settings.state / "passwords.json",
        settings.access / "connections.json",
        access.client_key_file(settings),
        *(access.host_key_file(settings, node) for node in settings.nodes),
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(settings.access.stat().st_mode) == 0o700


def test_writing_again_changes_no_key_and_no_password(settings: LabSettings) -> None:
    access.write(settings)
    before = (settings.access / "connections.json").read_text(), access.client_key(settings)
    access.write(settings)
    assert ((settings.access / "connections.json").read_text(), access.client_key(settings)) == before


def test_both_halves_of_a_key_belong_together(settings: LabSettings) -> None:
    node = settings.nodes[0]
    for path, public in (
        (access.client_key_file(settings), access.client_key(settings)),
        (access.host_key_file(settings, node), access.host_key(settings, node)),
    ):
        read = paramiko.Ed25519Key.from_private_key_file(str(path))
        assert public == f"{read.get_name()} {read.get_base64()}"


@pytest.mark.parametrize("lost", ["id_ed25519", "id_ed25519.pub"])
def test_a_key_with_a_lost_half_is_made_anew(settings: LabSettings, lost: str) -> None:
    before = access.client_key(settings)
    (settings.access / lost).unlink()
    after = access.client_key(settings)
    assert after != before
    read = paramiko.Ed25519Key.from_private_key_file(str(access.client_key_file(settings)))
    assert after.endswith(read.get_base64())


def test_an_end_between_the_halves_leaves_no_wrong_pair(settings: LabSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    access.client_key(settings)
    access.client_key_file(settings).unlink()

    def write_and_end(path: Path, text: str) -> None:
        access_write(path, text)
        raise KeyboardInterrupt

    access_write = access.write_private
    monkeypatch.setattr(access, "write_private", write_and_end)
    with pytest.raises(KeyboardInterrupt):
        access.client_key(settings)
    monkeypatch.setattr(access, "write_private", access_write)
    public = access.client_key(settings)
    read = paramiko.Ed25519Key.from_private_key_file(str(access.client_key_file(settings)))
    assert public.endswith(read.get_base64())


def test_a_password_does_not_show_itself(settings: LabSettings) -> None:
    settings.state.mkdir()
    known = access.passwords(settings)
    assert known.service not in repr(known)
    assert known.operator not in repr(known)


def test_a_shell_quotes_what_it_runs_and_checks_the_host_key(settings: LabSettings) -> None:
    words = ssh.command(settings, "node2", ["sh", "-c", "echo 'a b' > /tmp/x; id"])
    assert words[-2:] == ["rollout@198.18.26.12", """sudo -n -- sh -c 'echo '"'"'a b'"'"' > /tmp/x; id'"""]
    assert "StrictHostKeyChecking=yes" in words


def test_a_shell_on_an_unknown_node_is_refused(settings: LabSettings) -> None:
    with pytest.raises(LabError, match="'node9' is no node of the lab") as refused:
        ssh.command(settings, "node9", [])
    assert "one of node1, node2, node3" in str(refused.value)
