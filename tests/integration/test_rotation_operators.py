"""Taking a node out of rotation and back, on two real HAProxies."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import PrecheckError, UnreachableError, VerifyError
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.balancers import Balancers
from tests.integration.parts.fleets import NEW, OLD
from tests.integration.parts.services import service
from tests.integration.parts.site import NODES, Site
from tests.integration.parts.sshd import Sshd

pytestmark = pytest.mark.integration

IN, OUT, DRAINING = Rotation.IN, Rotation.MAINTENANCE, Rotation.DRAINING


def test_a_node_leaves_rotation_on_every_balancer_and_only_once(site: Site) -> None:
    record = site.take_out()

    assert (record["node"], record["changed"]) == ("node1", True)
    assert record["did"] == "takes no new requests (lb1, lb2)"
    assert site.rotation() == [DRAINING, DRAINING]
    assert site.rotation("node2") == site.rotation("node3") == [IN, IN]

    again = site.take_out()
    assert (again["changed"], again["did"]) == (False, "is out of rotation already")
    assert site.rotation() == [DRAINING, DRAINING]


def test_a_drain_that_one_balancer_lost_is_set_there_again(site: Site) -> None:
    site.take_out()
    site.balancers[1].restart()
    site.balancers[1].until_checked(*NODES)
    assert site.rotation() == [DRAINING, IN]

    assert site.take_out()["did"] == "takes no new requests (lb2)"
    assert site.rotation() == [DRAINING, DRAINING]


def test_a_node_in_maintenance_is_not_made_to_drain(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)

    assert site.take_out()["changed"] is False
    assert site.rotation() == [OUT, OUT]


def test_a_node_that_runs_the_target_is_passed_over(site: Site) -> None:
    with service(site.root, f"releases/{NEW}", site.profile.port):
        record = site.take_out()

    assert (record["changed"], record["passed_over"]) == (False, True)
    assert site.rotation() == [IN, IN]


def test_a_node_that_runs_the_old_release_is_not_passed_over(site: Site) -> None:
    with service(site.root, f"releases/{OLD}", site.profile.port):
        assert site.take_out()["changed"] is True


@pytest.mark.parametrize("state", [Admin.DRAIN, Admin.MAINT])
@pytest.mark.parametrize("where", [0, 1])
def test_a_node_stays_while_another_is_out_on_either_balancer(site: Site, state: Admin, where: int) -> None:
    site.balancers[where].hook().set_state("node2", state)

    with pytest.raises(
        PrecheckError, match=rf"node1 must not leave rotation now: .*node2 is already out on lb{where + 1}"
    ):
        site.take_out()

    assert site.rotation() == [IN, IN]


def test_a_node_stays_while_too_few_others_are_up(site: Site) -> None:
    site.servers["node3"].healthy = False
    for lb in site.balancers:
        lb.until_rotation("node3", Rotation.DOWN)

    with pytest.raises(
        PrecheckError, match=r"lb1 would keep 1 servers UP, at least 2 must stay \(node3 DOWN\)"
    ) as caught:
        site.take_out()

    assert "lb2 would keep 1 servers UP" in caught.value.found
    assert site.rotation() == [IN, IN]


@pytest.mark.parametrize("down", [0, 1])
def test_nothing_is_drained_while_a_balancer_cannot_be_asked(site: Site, down: int) -> None:
    site.balancers[down].stop()
    other = site.balancers[1 - down]

    with pytest.raises(UnreachableError, match=f"balancer lb{down + 1} cannot be asked"):
        site.take_out()

    assert other.view("node1").status == "UP"


def test_what_was_taken_out_is_put_back_when_the_second_balancer_refuses(site: Site) -> None:
    first, second = site.balancers
    site.reach_over(second, "operator")

    with pytest.raises(VerifyError, match="lb2 refused `set server service/node1 state drain`: 'Permission"):
        site.take_out()

    assert site.rotation() == [IN, IN]
    assert "Server service/node1 enters drain state" in first.log, "it had been taken out on the first"


def test_a_node_is_put_back_when_another_one_left_in_the_same_moment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_where = Balancers.set_where

    def meanwhile(self: Balancers, *what: Any) -> list[str]:
        told = set_where(self, *what)
        site.balancers[1].hook().set_state("node2", Admin.DRAIN)
        return told

    monkeypatch.setattr(Balancers, "set_where", meanwhile)

    with pytest.raises(
        VerifyError, match=r"drain was set for node1 on lb1, lb2, and then: .*node2 is already out on lb2 \(DRAIN\)"
    ):
        site.take_out()

    for lb in site.balancers:
        assert "Server service/node1 enters drain state" in lb.log
    assert site.rotation() == [IN, IN]
    assert site.rotation("node2") == [IN, DRAINING], "the other one is not this step's to put back"


def test_a_node_is_put_back_when_the_drain_did_not_hold(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    set_where = Balancers.set_where

    def meanwhile(self: Balancers, *what: Any) -> list[str]:
        told = set_where(self, *what)
        site.balancers[0].restart()
        return told

    monkeypatch.setattr(Balancers, "set_where", meanwhile)

    with pytest.raises(VerifyError, match="it still takes new requests"):
        site.take_out()

    assert site.rotation() == [IN, IN]


def test_what_somebody_else_took_out_stays_out_when_the_second_balancer_refuses(site: Site) -> None:
    first, second = site.balancers
    first.hook().set_state("node1", Admin.MAINT)
    site.reach_over(second, "operator")

    with pytest.raises(VerifyError, match="refused"):
        site.take_out()

    assert site.rotation() == [OUT, IN]


def test_a_proven_node_returns_on_every_balancer_and_only_once(site: Site) -> None:
    site.set_everywhere("node1", Admin.DRAIN)
    with service(site.root, f"releases/{NEW}", site.profile.port):
        record = site.bring_back()
        assert (record["changed"], record["did"]) == (True, "takes requests again (lb1, lb2)")
        assert site.rotation() == [IN, IN]

        again = site.bring_back()
        assert (again["changed"], again["did"]) == (False, "is in rotation already")


def test_a_node_returns_where_it_is_missing(site: Site) -> None:
    site.balancers[1].hook().set_state("node1", Admin.DRAIN)

    with service(site.root, f"releases/{NEW}", site.profile.port):
        assert site.bring_back()["did"] == "takes requests again (lb2)"

    assert site.rotation() == [IN, IN]


@pytest.mark.parametrize("releases", [(OLD,), (NEW, OLD), ()], ids=["old", "new and old", "none"])
def test_a_node_that_is_not_proven_stays_out(site: Site, releases: tuple[str, ...]) -> None:
    site.set_everywhere("node1", Admin.DRAIN)
    with ExitStack() as running:
        for release in releases:
            running.enter_context(service(site.root, f"releases/{release}", site.profile.port))
        with pytest.raises(PrecheckError, match=f"node1 is not proven to run {NEW}"):
            site.bring_back()

    assert site.rotation() == [DRAINING, DRAINING]


def test_a_node_that_a_balancer_finds_ill_is_not_called_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolling_upgrade.operators.rotation.UP_SECONDS", 0.5)
    site.set_everywhere("node1", Admin.DRAIN)
    site.servers["node1"].healthy = False
    for lb in site.balancers:
        lb.until_status("node1", "DOWN")

    not_up = pytest.raises(VerifyError, match=r"node1 is not UP everywhere .* node1 on lb1: DOWN")
    with service(site.root, f"releases/{NEW}", site.profile.port), not_up:
        site.bring_back()


def test_a_node_does_not_return_while_a_balancer_cannot_be_asked(site: Site) -> None:
    site.set_everywhere("node1", Admin.DRAIN)
    site.balancers[1].stop()

    unreachable = pytest.raises(UnreachableError, match="balancer lb2 cannot be asked")
    with service(site.root, f"releases/{NEW}", site.profile.port), unreachable:
        site.bring_back()

    assert site.balancers[0].view("node1").rotation is DRAINING


def test_a_node_that_cannot_be_reached_is_left_as_it_is(site: Site, ssh_server: Sshd, tmp_path: Path) -> None:
    wrong = ssh_server.connection(key_file=str(tmp_path / "no-such-key"))
    site.set_connection("it_node1", wrong)

    with pytest.raises(UnreachableError, match="node node1"):
        site.take_out()

    assert site.rotation() == [IN, IN]
