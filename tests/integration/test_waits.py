"""One look of the waits at a time, on two real HAProxies, with real sockets and real processes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.triggers.drained import DrainedTrigger
from rolling_upgrade.triggers.healthy import HealthyTrigger
from rolling_upgrade.triggers.soak import SoakTrigger
from rolling_upgrade.triggers.waiting import Wait
from tests.integration.parts.clients import Client, slow_request_to
from tests.integration.parts.fleets import NAME, NEW, OLD, plan
from tests.integration.parts.processes import until
from tests.integration.parts.services import service
from tests.integration.parts.site import Site
from tests.integration.parts.tasks import Task, events_of, failure_of, states

pytestmark = pytest.mark.integration

OUT, DRAINING, IN = Rotation.MAINTENANCE, Rotation.DRAINING, Rotation.IN


def drained() -> DrainedTrigger:
    trigger = DrainedTrigger(fleet=NAME, nodes_from="plan")
    trigger.task_instance = Task()
    return trigger


def why_not_healthy(site: Site) -> list[str]:
    return HealthyTrigger(fleet=NAME, nodes_from="plan").why_not_healthy(site.wait())


def on_the_balanced_port(site: Site, **kwargs: float) -> Wait:
    """The wait for node1 with the port that the balancers really send its requests to."""
    return replace(site.wait("node1", **kwargs), profile=replace(site.profile, port=site.servers["node1"].port))


def poll_to_the_end(trigger: DrainedTrigger, wait: Wait) -> Record:
    found: list[object] = []

    def ended() -> bool:
        outcome = trigger.poll(wait)
        if outcome is not None:
            found.append(outcome)
        return bool(found)

    until(ended, "the drain to end")
    assert isinstance(found[0], dict)
    return found[0]


def test_a_drain_ends_when_nothing_is_in_flight_on_either_balancer_and_no_socket_is_left(site: Site) -> None:
    for lb in site.balancers:
        for _ in range(6):
            Client(lb, "/").end()  # leaves pooled connections to the nodes behind
    client = slow_request_to(site.balancers[1], site.servers, "node1")
    site.take_out()
    trigger, wait = drained(), on_the_balanced_port(site)

    for _ in range(3):
        assert trigger.poll(wait) is None
        assert site.rotation() == [DRAINING, DRAINING]
    assert not client.answered

    site.servers["node1"].release.set()
    client.end()
    assert (client.status, client.served_by) == (200, "node1")
    record = poll_to_the_end(trigger, wait)

    assert record["changed"] is True
    assert [requests for _, requests in record["progress"]] == [1, 0]
    assert site.rotation() == [OUT, OUT]


def test_a_balancer_that_forgot_the_drain_is_told_again(site: Site) -> None:
    client = slow_request_to(site.balancers[1], site.servers, "node1")
    site.take_out()
    trigger, wait = drained(), on_the_balanced_port(site)
    assert trigger.poll(wait) is None

    site.balancers[0].restart()
    assert site.rotation()[0] is IN
    assert trigger.poll(wait) is None

    assert site.rotation() == [DRAINING, DRAINING]
    site.servers["node1"].release.set()
    client.end()
    assert client.status == 200


def test_a_node_that_runs_the_target_is_not_drained(site: Site) -> None:
    with service(site.root, f"releases/{NEW}", site.profile.port):
        record = drained().poll(site.wait())

    assert isinstance(record, dict)
    assert (record["changed"], record["passed_over"]) == (False, True)


def test_a_started_node_is_healthy_once_its_checks_pass(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)
    assert "no process listens on the service's port" in HealthyTrigger(fleet=NAME, nodes_from="plan").why_not_healthy(
        site.wait()
    )

    with service(site.root, f"releases/{NEW}", site.profile.port):
        assert {reason.split(",")[0] for reason in why_not_healthy(site)} == {"lb1 says MAINT", "lb2 says MAINT"}
        assert site.start()["did"] == f"runs {NEW} already; the balancers check it anew"
        assert site.rotation() == [DRAINING, DRAINING], "it is checked and gets no requests"
        until(
            lambda: not why_not_healthy(site),
            "node1 to be healthy",
        )
        assert HealthyTrigger(fleet=NAME, nodes_from="plan").poll(site.wait()) is not None


@pytest.mark.parametrize("site", ["2s"], indirect=True)
def test_a_check_from_before_maintenance_makes_nobody_healthy(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)
    site.servers["node1"].healthy = False

    with service(site.root, f"releases/{NEW}", site.profile.port):
        site.start()
        assert why_not_healthy(site), "no check has been made since the start"


def test_a_node_that_stays_up_and_proven_has_soaked(site: Site) -> None:
    with service(site.root, f"releases/{NEW}", site.profile.port):
        assert SoakTrigger(fleet=NAME, nodes_from="plan").poll(soaking(site, seconds=30)) is None
        record = SoakTrigger(fleet=NAME, nodes_from="plan").poll(soaking(site, seconds=30, since_seconds=31))

    assert isinstance(record, dict)
    assert record["did"] == "stayed well for 30 s"


def test_a_server_that_goes_down_ends_the_soak(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, {"soak": "deferred"})
    assert SoakTrigger(fleet=NAME, nodes_from="plan").poll(soaking(site, seconds=30)) is None
    site.servers["node1"].healthy = False
    for lb in site.balancers:
        lb.until_rotation("node1", Rotation.DOWN)

    task = Task(replace(plan(site.fleet), soak_seconds=30), task_id="soak")
    said = failure_of(events_of(SoakTrigger(fleet=NAME, nodes_from="plan"), task))

    assert "node1 did not stay well 0 s after its return: node1 on lb1: DOWN, " in said
    assert "node1 on lb2: DOWN, " in said
    assert site.rotation() == [Rotation.DOWN, Rotation.DOWN], "it is left to the balancers' checks"


@pytest.mark.parametrize("where", [0, 1])
def test_a_server_that_somebody_takes_out_ends_the_soak(site: Site, where: int) -> None:
    site.balancers[where].hook().set_state("node1", Admin.DRAIN)

    with pytest.raises(
        VerifyError, match=f"node1 did not stay well 0 s after its return: node1 on lb{where + 1}: DRAIN"
    ):
        SoakTrigger(fleet=NAME, nodes_from="plan").poll(soaking(site, seconds=30))


def test_a_node_that_is_not_proven_at_the_end_has_not_soaked(site: Site) -> None:
    old = pytest.raises(VerifyError, match=rf"node1 did not stay well .*release {OLD} is not of {NEW}")
    with service(site.root, f"releases/{OLD}", site.profile.port), old:
        SoakTrigger(fleet=NAME, nodes_from="plan").poll(soaking(site, seconds=30, since_seconds=31))


def soaking(site: Site, *, seconds: int, since_seconds: float = 0.0) -> Wait:
    wait = site.wait(since_seconds=since_seconds)
    return replace(wait, plan=replace(wait.plan, soak_seconds=seconds))
