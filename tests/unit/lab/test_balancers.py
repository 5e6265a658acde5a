"""What the balancers are configured to do, and how their answers are read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from include.lab import balancers
from include.lab.settings import BALANCERS, from_environment

STAT = """# pxname,svname,qcur,qmax,scur,smax,status,check_status
images,FRONTEND,,,1,2,OPEN,
glance_api,node1,0,0,3,5,UP,L7OK
glance_api,node2,0,0,0,5,DRAIN,L7OK
glance_api,node3,0,0,0,5,UP 1/2,L7STS
glance_api,BACKEND,0,0,3,5,UP,
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_every_node_is_checked_over_http_by_every_balancer() -> None:
    settings = from_environment({"GLANCE_LAB_NODES": "5"})
    for balancer in BALANCERS:
        written = lines(balancers.configuration(settings, balancer))
        for node in settings.nodes:
            assert f"server {node.name} {node.address}:9292" in written
        assert "option httpchk GET /healthcheck" in written
        assert "http-check expect status 200" in written
        assert "default-server check inter 1s fastinter 250ms downinter 500ms fall 2 rise 2" in written


def test_nothing_listens_outside_loopback() -> None:
    for balancer in BALANCERS:
        written = lines(balancers.configuration(from_environment({}), balancer))
        listening = [line for line in written if line.startswith(("bind ", "stats socket "))]
        assert len(listening) == 2
        assert all("127.0.0.1:" in line for line in listening)


def test_a_drain_outlives_a_restart() -> None:
    written = balancers.configuration(from_environment({}), BALANCERS[0])
    assert "load-server-state-from-file global" in written
    assert "server-state-file /var/lib/glance-lab/balancers/lb1.state" in written


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed")
def test_haproxy_accepts_it(tmp_path: Path) -> None:
    settings = from_environment({"GLANCE_LAB_STATE": str(tmp_path)})
    for balancer in BALANCERS:
        file = tmp_path / "balancers" / f"{balancer.name}.cfg"
        file.parent.mkdir(exist_ok=True)
        file.with_suffix(".state").write_text(balancers.NO_STATE)
        file.write_text(balancers.configuration(settings, balancer))
        checked = subprocess.run(["/usr/sbin/haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "[WARNING]" not in checked.stderr


def test_only_servers_are_read_from_the_statistics() -> None:
    found = balancers.parse_servers(STAT)
    assert [(state.server, state.status, state.sessions) for state in found] == [
        ("node1", "UP", 3),
        ("node2", "DRAIN", 0),
        ("node3", "UP 1/2", 0),
    ]


def test_up_on_all_needs_a_good_check_of_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = from_environment({})

    def seen(*rows: tuple[str, str, str]) -> None:
        states = [balancers.ServerState(server, status, check, 0) for server, status, check in rows]
        monkeypatch.setattr(balancers, "servers", lambda balancer: states)

    good = [(f"node{i}", "UP", "L7OK") for i in (1, 2, 3)]
    seen(*good)
    assert balancers.all_up(settings)
    seen(*good[:2])
    assert not balancers.all_up(settings)
    seen(*good[:2], ("node3", "UP", ""))  # HAProxy takes a server for UP before it has checked it
    assert not balancers.all_up(settings)
    seen(*good[:2], ("node3", "DRAIN", "L7OK"))
    assert not balancers.all_up(settings)
    monkeypatch.setattr(balancers, "servers", lambda balancer: None)
    assert not balancers.all_up(settings)
