"""A drain that fails leaves the node in rotation wherever a balancer can be told, and says where it could not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.triggers.drained import DrainedTrigger
from tests.integration.parts.clients import slow_request_to
from tests.integration.parts.fleets import NAME, plan
from tests.integration.parts.haproxy import HAProxy
from tests.integration.parts.site import Site
from tests.integration.parts.tasks import Task, events_of, failure_of, states

pytestmark = pytest.mark.integration

OUT, DRAINING, IN = Rotation.MAINTENANCE, Rotation.DRAINING, Rotation.IN


def drain_to_failure(site: Site, *, timeout: int = 0) -> str:
    """Let the drain of node1 run as the triggerer runs it; returns what it said when it failed."""
    task = Task(replace(plan(site.fleet), drain_timeout_seconds=timeout), map_index=0)
    return failure_of(events_of(DrainedTrigger(fleet=NAME, nodes_from="plan"), task))


@contextmanager
def held_request(site: Site, lb: HAProxy) -> Iterator[None]:
    """A request to node1 that is in flight in the block, and that nothing in it may cut."""
    client = slow_request_to(lb, site.servers, "node1")
    yield
    assert not client.answered
    site.servers["node1"].release.set()
    client.end()
    assert (client.status, client.served_by) == (200, "node1")


@pytest.fixture(autouse=True)
def _deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, {"wait_0": "deferred"})


def test_a_drain_that_takes_too_long_is_put_back_and_cuts_nothing(site: Site) -> None:
    with held_request(site, site.balancers[0]):
        site.take_out()

        said = drain_to_failure(site)

        assert "Found: node1 is not drained after 0 s: node1 on lb1: DRAIN, 1 in service" in said
        assert re.search(r"0 queued\. 1 open: 127\.0\.0\.1:\d+ for \d+ s through lb1\.", said), said
        assert said.endswith("\nnode1 was put back into rotation on lb1, lb2")
        assert site.rotation() == [IN, IN]


@pytest.mark.parametrize("down", [0, 1])
def test_the_balancer_that_answers_gets_the_node_back_while_the_other_is_down(site: Site, down: int) -> None:
    lost, other = site.balancers[down], site.balancers[1 - down]
    with held_request(site, other):
        site.take_out()
        lost.stop()

        said = drain_to_failure(site)

        assert f"Found: balancer {lost.name} cannot be asked" in said
        settled = said.splitlines()[-1]
        assert settled.startswith(f"node1 was put back into rotation on {other.name}, NOT put back on ")
        assert f"NOT put back on {lost.name} (balancer {lost.name} cannot be asked" in settled
        assert settled.endswith("set it ready there by hand")
        assert other.view("node1").rotation is IN


def test_a_balancer_that_refuses_is_named_with_its_words(site: Site) -> None:
    first, second = site.balancers
    with held_request(site, first):
        site.take_out()
        site.reach_over(second, "operator")

        said = drain_to_failure(site)

        assert "NOT put back on lb2 (balancer lb2 refused `set server service/node1 state ready`: 'Permission" in said
        assert site.rotation() == [IN, DRAINING]


def test_a_node_that_cannot_be_asked_over_ssh_is_put_back_when_the_time_is_over(site: Site) -> None:
    site.take_out()
    site.set_everywhere("node1", Admin.MAINT)
    site.cut_off("node1")

    said = drain_to_failure(site)

    assert "Found: node node1 (127.0.0.1) cannot be asked over SSH" in said
    assert said.endswith("\nnode1 was put back into rotation on lb1, lb2")
    for lb in site.balancers:  # After maintenance new health checks must pass first.
        lb.until_rotation("node1", IN)


def test_a_drain_that_was_cleared_takes_no_node_out_beside_another(site: Site) -> None:
    """As when ``drained`` alone is cleared after it failed: the node is in rotation, and another one has left."""
    site.set_everywhere("node2", Admin.DRAIN)

    said = drain_to_failure(site, timeout=60)

    assert "Found: node1 lost its drain on lb1, lb2, and must not leave now: " in said
    assert "node2 is already out on lb1 (DRAIN)" in said
    assert "node2 is already out on lb2 (DRAIN)" in said
    assert site.rotation() == [IN, IN]
    assert site.rotation("node2") == [DRAINING, DRAINING]
    for lb in site.balancers:
        assert "service/node1 enters drain" not in lb.log, "it did not leave for a moment either"


def test_a_drain_that_was_cleared_takes_no_node_out_while_too_few_are_up(site: Site) -> None:
    site.servers["node3"].healthy = False
    site.balancers[1].until_rotation("node3", Rotation.DOWN)

    said = drain_to_failure(site, timeout=60)

    assert "lb2 would keep 1 servers UP, at least 2 must stay (node3 DOWN)" in said
    assert site.rotation() == [IN, IN]


def test_a_drain_that_was_cleared_begins_again_where_the_node_may_leave(site: Site) -> None:
    with held_request(site, site.balancers[0]):
        trigger = DrainedTrigger(fleet=NAME, nodes_from="plan")
        trigger.task_instance = Task()

        assert trigger.poll(site.wait()) is None

        assert site.rotation() == [DRAINING, DRAINING]


@pytest.mark.parametrize("state", ["failed", None], ids=["marked as failed", "cleared"])
def test_a_drain_that_somebody_took_over_is_left_as_it_is(
    site: Site, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    states(monkeypatch, {"wait_0": state})
    with held_request(site, site.balancers[0]):
        site.take_out()

        said = drain_to_failure(site)

        assert "is not drained" in said
        assert "put back" not in said
        assert site.rotation() == [DRAINING, DRAINING]


def test_a_broken_connection_to_one_balancer_keeps_no_node_out_on_the_other(site: Site) -> None:
    site.take_out()
    site.set_connection("it_lb1", {"conn_type": "generic", "host": "127.0.0.1", "port": "none"})

    said = drain_to_failure(site)

    assert "connection it_lb1 cannot be used" in said
    assert "put back into rotation on lb2, NOT put back on lb1" in said
    assert site.balancers[1].view("node1").rotation is IN


@pytest.mark.parametrize("site", ["2s"], indirect=True)
def test_a_node_that_died_in_maintenance_gets_no_request_before_a_new_check_passed(site: Site) -> None:
    site.set_everywhere("node1", Admin.MAINT)
    site.servers["node1"].stop()
    site.cut_off("node1")

    drain_to_failure(site)

    assert [rotation.takes_new_requests for rotation in site.rotation()] == [False, False]
