"""BalancerHook and Balancers against a real HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import UnreachableError, VerifyError
from rolling_upgrade.fleet.inventory import Balancer
from rolling_upgrade.hooks.balancer import Admin, BalancerHook
from rolling_upgrade.hooks.balancers import Balancers
from tests.integration.parts.backend import Backend, backends
from tests.integration.parts.haproxy import BACKEND, HAProxy, balancer
from tests.integration.parts.processes import free_port
from tests.integration.parts.site import SetConnection

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Backend]]:
    with backends("node1", "node2") as started:
        yield started


@pytest.fixture(scope="module")
def lb(servers: dict[str, Backend], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HAProxy]:
    lines = {name: (server.port, "check") for name, server in servers.items()}
    lines["broken"] = (free_port(), "check")
    lines["unwatched"] = (servers["node1"].port, "")
    with balancer("lb1", tmp_path_factory.mktemp("lb1"), lines) as started:
        started.until_checked("node1", "node2")
        started.until_rotation("broken", Rotation.DOWN)
        yield started


@pytest.fixture(params=["tcp", "unix"])
def hook(lb: HAProxy, request: pytest.FixtureRequest) -> Iterator[BalancerHook]:
    yield lb.hook(None if request.param == "tcp" else "admin")
    lb.hook().set_state("node1", Admin.READY)
    lb.until_checked("node1")


def test_every_server_is_seen_in_its_state(hook: BalancerHook, servers: dict[str, Backend]) -> None:
    views = {view.server: view for view in hook.servers()}

    assert {name: view.rotation for name, view in views.items()} == {
        "node1": Rotation.IN,
        "node2": Rotation.IN,
        "broken": Rotation.DOWN,
        "unwatched": Rotation.UNCHECKED,
    }
    assert views["node1"].status == "UP"
    assert views["node1"].check_passed
    assert views["node1"].address == f"127.0.0.1:{servers['node1'].port}"
    assert views["node1"].balancer == "lb1"
    assert not views["broken"].check_passed
    assert views["unwatched"].status == "no check"
    assert all(view.open_requests == 0 for view in views.values())


def test_drain_maintenance_and_ready_come_and_go(hook: BalancerHook, lb: HAProxy) -> None:
    for state, rotation in ((Admin.DRAIN, Rotation.DRAINING), (Admin.MAINT, Rotation.MAINTENANCE)):
        hook.set_state("node1", state)
        assert lb.view("node1").rotation is rotation
        hook.set_state("node1", state)
        assert lb.view("node1").rotation is rotation, "setting it again changes nothing"
        assert lb.view("node2").rotation is Rotation.IN
    hook.set_state("node1", Admin.READY)
    lb.until_rotation("node1", Rotation.IN)


def test_a_server_that_is_not_there_is_refused_in_haproxys_words(hook: BalancerHook) -> None:
    with pytest.raises(VerifyError, match="refused `set server service/node9 state drain`: 'No such server"):
        hook.set_state("node9", Admin.DRAIN)


def test_a_backend_that_is_not_there_is_refused(lb: HAProxy) -> None:
    hook = BalancerHook(Balancer(name="lb1", connection="x", backend="other"), lb.hook().address)

    with pytest.raises(VerifyError, match="No such backend"):
        hook.set_state("node1", Admin.DRAIN)
    with pytest.raises(UnreachableError, match="it has no backend 'other' with servers"):
        hook.servers()


@pytest.mark.parametrize("level", ["operator", "user"])
def test_a_socket_below_admin_can_look_and_not_touch(lb: HAProxy, level: str) -> None:
    hook = lb.hook(level)

    assert {view.server for view in hook.servers()} == {"node1", "node2", "broken", "unwatched"}
    assert "Permission denied" in (hook.refusal_of_admin() or "")
    with pytest.raises(VerifyError, match="Permission denied"):
        hook.set_state("node1", Admin.DRAIN)
    assert lb.view("node1").rotation is Rotation.IN


def test_a_socket_of_level_admin_refuses_nothing_and_the_question_changes_nothing(hook: BalancerHook) -> None:
    before = [(view.server, view.status) for view in hook.servers()]

    assert hook.refusal_of_admin() is None
    assert [(view.server, view.status) for view in hook.servers()] == before


def test_a_closed_port_is_unreachable() -> None:
    hook = BalancerHook(Balancer(name="lb1", connection="x", backend=BACKEND), ("127.0.0.1", free_port()))

    for ask in (hook.servers, hook.refusal_of_admin, lambda: hook.set_state("node1", Admin.DRAIN)):
        with pytest.raises(UnreachableError, match=r"balancer lb1 cannot be asked: .*refused"):
            ask()


def test_a_missing_socket_is_unreachable(tmp_path: Path) -> None:
    hook = BalancerHook(Balancer(name="lb1", connection="x", backend=BACKEND), str(tmp_path / "admin.sock"))

    with pytest.raises(UnreachableError, match="No such file"):
        hook.servers()


def test_something_else_on_the_port_is_unreachable(servers: dict[str, Backend]) -> None:
    address = ("127.0.0.1", servers["node1"].port)
    hook = BalancerHook(Balancer(name="lb1", connection="x", backend=BACKEND), address)

    with pytest.raises(UnreachableError, match="it answered"):
        hook.servers()


def test_airflow_connections_lead_to_tcp_and_to_a_socket(lb: HAProxy, set_connection: SetConnection) -> None:
    set_connection("it_lb1", {"conn_type": "generic", "host": "127.0.0.1", "port": lb.admin_port})
    over_tcp = BalancerHook.from_connection(lb.fleet_entry)
    set_connection("it_lb1", {"conn_type": "generic", "extra": {"socket": str(lb.folder / "admin.sock")}})
    over_socket = BalancerHook.from_connection(lb.fleet_entry)

    assert over_tcp.address == ("127.0.0.1", lb.admin_port)
    assert over_socket.address == str(lb.folder / "admin.sock")
    assert [str(view) for view in over_tcp.servers()] == [str(view) for view in over_socket.servers()]


def test_a_server_that_one_balancer_does_not_know_is_named(
    lb: HAProxy, servers: dict[str, Backend], tmp_path: Path
) -> None:
    with balancer("lb2", tmp_path / "lb2", {"node2": (servers["node2"].port, "check")}) as other:
        other.until_checked("node2")
        both = Balancers([lb.hook(), other.hook()])

        assert [view.balancer for view in both.views_of("node2")] == ["lb1", "lb2"]
        with pytest.raises(VerifyError, match="server node1 is known to lb1 of the balancers lb1, lb2"):
            both.set_where("node1", Admin.DRAIN, lambda view: True)
        assert lb.view("node1").rotation is Rotation.IN


def test_a_state_is_set_only_where_it_applies(lb: HAProxy, servers: dict[str, Backend], tmp_path: Path) -> None:
    lines = {name: (server.port, "check") for name, server in servers.items()}
    with balancer("lb2", tmp_path / "lb2", lines) as other:
        other.until_checked("node1", "node2")
        both = Balancers([lb.hook(), other.hook()])
        other.hook().set_state("node1", Admin.MAINT)

        assert both.set_where("node1", Admin.DRAIN, lambda view: view.rotation.takes_new_requests) == ["lb1"]
        assert [view.rotation for view in both.views_of("node1")] == [Rotation.DRAINING, Rotation.MAINTENANCE]
        lb.hook().set_state("node1", Admin.READY)
