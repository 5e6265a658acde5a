"""Draining through a real HAProxy: what is in flight goes on, and a lost drain is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rolling_upgrade.decisions.drain import DrainAction, next_action
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.hooks.balancer import Admin
from tests.integration.parts.backend import Backend, backends
from tests.integration.parts.clients import Client, slow_request_to
from tests.integration.parts.haproxy import HAProxy, balancer
from tests.integration.parts.processes import until

pytestmark = pytest.mark.integration


@pytest.fixture
def servers() -> Iterator[dict[str, Backend]]:
    with backends("node1", "node2") as started:
        yield started


@pytest.fixture
def lb(servers: dict[str, Backend], tmp_path: Path) -> Iterator[HAProxy]:
    with balancer("lb1", tmp_path / "lb1", {name: (s.port, "check") for name, s in servers.items()}) as started:
        started.until_checked("node1", "node2")
        yield started


def test_a_drain_waits_for_what_is_in_flight_and_then_goes_on(lb: HAProxy, servers: dict[str, Backend]) -> None:
    hook = lb.hook()
    client = slow_request_to(lb, servers, "node1")

    hook.set_state("node1", Admin.DRAIN)

    progress = next_action([lb.view("node1")])
    assert (progress.action, progress.open_requests) == (DrainAction.WAIT, 1)
    others = [Client(lb, "/") for _ in range(6)]
    for other in others:
        other.end()
    assert {(other.status, other.served_by) for other in others} == {(200, "node2")}
    assert next_action([lb.view("node1")]).action is DrainAction.WAIT
    assert not client.answered

    servers["node1"].release.set()
    client.end()
    assert (client.status, client.served_by) == (200, "node1")
    until(lambda: lb.view("node1").open_requests == 0, "no session on node1")
    assert next_action([lb.view("node1")]).action is DrainAction.ENTER_MAINTENANCE

    hook.set_state("node1", Admin.MAINT)
    assert next_action([lb.view("node1")]).action is DrainAction.COUNT_SOCKETS


def test_a_restart_of_the_balancer_loses_the_drain_and_that_is_seen(lb: HAProxy, servers: dict[str, Backend]) -> None:
    client = slow_request_to(lb, servers, "node1")
    lb.hook().set_state("node1", Admin.DRAIN)
    assert next_action([lb.view("node1")]).action is DrainAction.WAIT

    lb.restart()

    progress = next_action([lb.view("node1")])
    assert progress.action is DrainAction.DRAIN_AGAIN
    assert progress.lost_on == ("lb1",)
    assert progress.open_requests == 0, "the new process counts from 0, which is no proof of a drain"
    servers["node1"].release.set()
    client.end()


def test_a_check_from_before_maintenance_is_shown_until_a_new_one_ends(
    servers: dict[str, Backend], tmp_path: Path
) -> None:
    """HAProxy goes on showing the old result; only the ``1/2`` behind the state tells that no new check has passed."""
    lines = {name: (server.port, "check") for name, server in servers.items()}
    with balancer("lb1", tmp_path / "slow", lines, inter="1s") as lb:
        lb.until_checked("node1")
        lb.hook().set_state("node1", Admin.MAINT)
        assert lb.view("node1").check == "", "none is shown in maintenance"
        servers["node1"].healthy = False

        lb.hook().set_state("node1", Admin.DRAIN)

        stale = lb.view("node1")
        assert (stale.status, stale.check) == ("DRAIN 1/2", "L7OK")
        lb.until_status("node1", "DOWN")
        assert lb.view("node1").check == "L7STS"

        lb.hook().set_state("node1", Admin.MAINT)
        servers["node1"].healthy = True
        lb.hook().set_state("node1", Admin.DRAIN)
        assert (lb.view("node1").status, lb.view("node1").check) == ("DRAIN 1/2", "L7STS")
        until(lambda: lb.view("node1").status == "DRAIN", "a new check to pass")
        assert lb.view("node1").check_passed


def test_a_server_set_down_in_drain_comes_up_by_new_checks_alone(servers: dict[str, Backend], tmp_path: Path) -> None:
    """With ``fall 1`` nothing tells an old result from a new one; ``health down`` does away with the old one."""
    lines = {name: (server.port, "check fall 1 rise 1") for name, server in servers.items()}
    with balancer("lb1", tmp_path / "slow", lines, inter="1s") as lb:
        lb.until_checked("node1")
        lb.hook().set_state("node1", Admin.MAINT)
        lb.hook().set_state("node1", Admin.DRAIN)
        assert (lb.view("node1").status, lb.view("node1").check) == ("DRAIN", "L7OK"), "no check was made yet"

        before = servers["node1"].checks
        lb.hook().forget_health("node1")

        assert (lb.view("node1").status, lb.view("node1").rotation) == ("DOWN", Rotation.DRAINING)
        assert not lb.view("node1").check_passed, "L7OK is still shown, and it is the old one"
        until(lambda: lb.view("node1").status == "DRAIN", "a new check to pass")
        assert servers["node1"].checks > before
        assert lb.view("node1").check_passed
