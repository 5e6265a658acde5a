"""Stopping and starting the service: not before the balancers are as they must be. What systemd is told is read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from rolling_upgrade.decisions.rotation import Rotation, ServerView
from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.fleet.inventory import fleet_directory, load
from rolling_upgrade.hooks.balancer import Admin
from tests.integration.parts.clients import slow_request_to
from tests.integration.parts.fleets import NEW, OLD
from tests.integration.parts.mariadb import MariaDB
from tests.integration.parts.processes import until
from tests.integration.parts.services import service
from tests.integration.parts.site import Site

pytestmark = pytest.mark.integration

OUT, DRAINING = Rotation.MAINTENANCE, Rotation.DRAINING
STOPPED, STARTED = (
    ["systemctl daemon-reload", "systemctl stop --no-block small.service"],
    [
        "systemctl reset-failed small.service",
        "systemctl start small.service",
    ],
)


def test_a_node_in_maintenance_everywhere_is_stopped_and_only_once(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)

    assert site.stop()["did"] == "stopped: no process, no listener, no connection"
    assert site.ssh.told == STOPPED

    assert site.stop()["changed"] is False
    assert site.ssh.told == STOPPED


def hold(site: Site) -> Path:
    return Path(site.profile.units) / "small.service.d" / "90-rolling-upgrade.conf"


def test_nothing_starts_a_stopped_node_by_itself_until_the_workflow_does(switched: Site) -> None:
    """A power loss between stop and start must not bring the new release up before the data is migrated."""
    switched.ssh.says("active", "running", 0)
    switched.stop()
    assert f"ConditionPathExists=!{hold(switched)}\n" in hold(switched).read_text()
    assert "SendSIGKILL=no\n" in hold(switched).read_text()

    switched.start(migration_complete=True)

    assert not hold(switched).exists()
    assert switched.ssh.told == [*STOPPED, "systemctl daemon-reload", *STARTED]


def test_a_unit_that_is_down_already_is_held_too(site: Site) -> None:
    site.ssh.says("inactive", "dead", 0)
    assert site.stop()["did"] == "is stopped already"
    assert hold(site).exists()


@pytest.fixture
def hurried(site: Site) -> Site:
    """A node in maintenance whose unit has one second to end, and does not."""
    site.set_everywhere("node1", Admin.MAINT)
    site.ssh.stubborn()
    _set_stop(site, seconds=1)
    return site


def _set_stop(site: Site, **values: object) -> None:
    path = fleet_directory() / "it.yaml"
    content = yaml.safe_load(path.read_text())
    content["stop"] = values
    path.write_text(yaml.safe_dump(content))
    site.fleet = load(path)


def test_a_unit_that_does_not_end_is_not_killed_and_stays_out(hurried: Site) -> None:
    with pytest.raises(VerifyError, match=r"told to stop, and 1 s later the unit is deactivating") as caught:
        hurried.stop()

    assert "nothing was killed" in caught.value.safe
    assert "`stop: {kill: true}`" in caught.value.next_step
    assert hurried.ssh.told == STOPPED
    assert hurried.rotation() == [OUT, OUT]

    hurried.ssh.says("inactive", "dead", 0)
    assert hurried.stop()["changed"] is False, "and a try after its end goes on"


def test_a_unit_that_does_not_end_is_killed_where_the_fleet_file_allows_it(hurried: Site) -> None:
    _set_stop(hurried, seconds=1, kill=True)
    hurried.stop()
    assert hurried.ssh.told == [*STOPPED, "systemctl kill --signal=SIGKILL small.service"]


def test_a_stop_that_is_under_way_is_waited_for_and_not_begun_again(hurried: Site) -> None:
    hurried.ssh.says("deactivating", "stop-sigterm", 0)
    with pytest.raises(VerifyError, match="told to stop"):
        hurried.stop()
    assert hurried.ssh.told == []


def test_a_refused_stop_gives_the_node_back(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)
    site.balancers[0].hook().set_state("node1", Admin.DRAIN)

    with pytest.raises(PrecheckError) as caught:
        site.stop()

    assert caught.value.settled == (
        "node1 was put back into rotation on lb1, lb2; clear take_out of this node with what follows it"
    )
    assert str(caught.value).endswith(caught.value.settled)
    for lb in site.balancers:
        lb.until_rotation("node1", Rotation.IN)


def test_a_node_that_cannot_be_reached_to_be_stopped_is_given_back(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)
    site.cut_off("node1")

    with pytest.raises(UnreachableError) as caught:
        site.stop()

    assert "was put back into rotation on lb1, lb2" in caught.value.settled
    for lb in site.balancers:
        lb.until_rotation("node1", Rotation.IN)


def test_what_somebody_chose_to_cut_is_stopped_with_requests_open(site: Site) -> None:
    client = slow_request_to(site.balancers[1], site.servers, "node1")
    site.set_everywhere("node1", Admin.MAINT)

    assert site.stop(drained={"did": "cut", "cut": {"by": "somebody"}})["changed"] is True

    assert site.ssh.told == STOPPED
    site.servers["node1"].release.set()
    client.end()


def test_a_choice_to_cut_does_not_stop_a_node_that_gets_new_requests(site: Site) -> None:
    site.set_everywhere("node1", Admin.DRAIN)
    with pytest.raises(PrecheckError, match="node1 is not drained"):
        site.stop(drained={"did": "cut", "cut": {"by": "somebody"}})
    assert site.ssh.told == []


@pytest.mark.parametrize("state", [Admin.DRAIN, Admin.READY])
@pytest.mark.parametrize("where", [0, 1])
def test_a_node_is_not_stopped_while_a_balancer_has_it_in_less_than_maintenance(
    site: Site, state: Admin, where: int
) -> None:
    """In drain HAProxy keeps connections to the node, and a drain that was lost is no drain."""
    site.set_everywhere("node1", Admin.MAINT)
    site.balancers[where].hook().set_state("node1", state)

    with pytest.raises(PrecheckError, match=rf"node1 is not drained: node1 on lb{where + 1}: (DRAIN|UP)") as caught:
        site.stop()

    assert f"lb{2 - where}" not in caught.value.found
    assert site.ssh.told == []


def test_a_node_is_not_stopped_while_it_serves_a_request_in_maintenance(site: Site) -> None:
    client = slow_request_to(site.balancers[1], site.servers, "node1")
    site.set_everywhere("node1", Admin.MAINT)

    with pytest.raises(PrecheckError, match=r"node1 is not drained: node1 on lb2: MAINT, 1 in service"):
        site.stop()

    assert site.ssh.told == []
    site.servers["node1"].release.set()
    client.end()
    assert client.status == 200


def test_a_node_is_not_stopped_while_a_client_is_connected_to_it(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)
    address = ("127.0.0.1", site.profile.port)

    refused = pytest.raises(PrecheckError, match="node1 is not drained: 1 connections are established on the node")
    with service(site.root, f"releases/{OLD}", site.profile.port), socket.create_connection(address), refused:
        site.stop()

    assert site.ssh.told == []


def test_a_node_is_not_stopped_while_a_balancer_cannot_be_asked(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)
    site.balancers[0].stop()

    with pytest.raises(UnreachableError, match="balancer lb1 cannot be asked"):
        site.stop()

    assert site.ssh.told == []


@pytest.fixture
def switched(site: Site, database: MariaDB, small_catalogue: Catalogue) -> Site:
    """node1 is stopped, switched and in maintenance; the schema is expanded."""
    database.at("two_expand")
    site.ssh.says("inactive", "dead", 0)
    (site.root / "current").unlink()
    (site.root / "current").symlink_to(f"releases/{NEW}")
    site.servers["node1"].healthy = False
    site.set_everywhere("node1", Admin.MAINT)
    return site


@contextmanager
def seen_at_the_start(site: Site) -> Iterator[list[ServerView]]:
    """What the balancers said of node1 while systemd had been told to start it and had not begun."""
    seen: list[ServerView] = []
    with site.ssh.held("start") as held:

        def look() -> None:
            until(held, "the start to be asked for")
            seen.extend(lb.view("node1") for lb in site.balancers)
            (site.ssh.folder / "gate").write_text("")

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        yield seen
        looking.join(15)


@pytest.mark.parametrize("site", ["2s"], indirect=True)
def test_no_balancer_could_send_a_request_to_the_node_that_starts(switched: Site) -> None:
    """One balancer was restarted and knows of no drain; the other one shows a check from before maintenance."""
    switched.balancers[1].restart()
    assert not switched.rotation()[1].is_out

    with seen_at_the_start(switched) as seen:
        assert switched.start(migration_complete=True)["did"] == f"started on {NEW}"

    assert [(view.rotation, view.status) for view in seen] == [(DRAINING, "DOWN"), (DRAINING, "DOWN")]
    assert switched.ssh.told == STARTED
    assert switched.rotation() == [DRAINING, DRAINING], "and it goes on to be checked without requests"


@pytest.mark.parametrize("lost", [0, 1])
def test_a_node_is_not_started_while_a_balancer_cannot_be_told(switched: Site, lost: int) -> None:
    switched.balancers[lost].stop()

    with pytest.raises(UnreachableError, match=f"balancer lb{lost + 1} cannot be asked"):
        switched.start(migration_complete=True)

    assert switched.ssh.told == []


def test_a_node_that_one_balancer_serves_is_not_drained_by_its_start_while_another_is_out(switched: Site) -> None:
    switched.servers["node1"].healthy = True
    switched.balancers[1].restart()
    switched.balancers[1].until_checked("node1")
    switched.set_everywhere("node2", Admin.DRAIN)
    before = switched.rotation()
    assert before[1] is Rotation.IN

    with pytest.raises(PrecheckError, match=r"node1 takes requests, and must not leave rotation now: .*node2 is alre"):
        switched.start(migration_complete=True)

    assert switched.ssh.told == []
    assert switched.rotation() == before


def test_a_node_is_not_started_before_its_data_is_migrated(switched: Site) -> None:
    with pytest.raises(PrecheckError, match=r"at two_expand, and migration_complete has not been seen in this run"):
        switched.start()

    assert switched.ssh.told == []
    assert switched.rotation() == [OUT, OUT]


def test_a_node_is_not_started_on_a_schema_that_is_not_expanded(switched: Site, database: MariaDB) -> None:
    database.at("one_contract")

    with pytest.raises(PrecheckError, match=r"the database is at one_contract, and migration_complete is recorded"):
        switched.start(migration_complete=True)

    assert switched.ssh.told == []


def test_a_node_that_is_not_switched_is_not_started(switched: Site) -> None:
    (switched.root / "current").unlink()
    (switched.root / "current").symlink_to(f"releases/{OLD}")

    with pytest.raises(PrecheckError, match=rf"node1 is switched to {OLD}"):
        switched.start(migration_complete=True)

    assert switched.ssh.told == []
