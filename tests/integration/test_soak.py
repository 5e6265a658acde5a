"""A node that passes its checks and fails its users leaves rotation again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.decisions.soak import counts
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.triggers.soak import SoakTrigger, TooManyErrorsError
from rolling_upgrade.triggers.waiting import Wait
from tests.integration.parts.clients import Client
from tests.integration.parts.fleets import NAME, NEW
from tests.integration.parts.haproxy import HAProxy
from tests.integration.parts.services import service
from tests.integration.parts.site import Site
from tests.integration.parts.tasks import Task

pytestmark = pytest.mark.integration

IN, DRAINING = Rotation.IN, Rotation.DRAINING


def returned(site: Site) -> Record:
    """What return_to_rotation leaves behind."""
    views = [lb.view("node1") for lb in site.balancers]
    return record("takes requests again", changed=True, errors=counts(views))


def soaking(site: Site, earlier: Record, *, allowed: int = 0, seconds: int = 30) -> Wait:
    fleet = site.fleet.model_copy(update={"defaults": site.fleet.defaults.model_copy(update={"soak_errors": allowed})})
    wait = site.wait()
    return replace(wait, fleet=fleet, plan=replace(wait.plan, soak_seconds=seconds), earlier=earlier)


def soak() -> SoakTrigger:
    trigger = SoakTrigger(fleet=NAME, nodes_from="plan")
    trigger.task_instance = Task()
    return trigger


def fail_users(lb: HAProxy, times: int) -> None:
    """That many requests that node1 answers with 500."""
    others = ("node2", "node3")
    for other in others:
        lb.hook().set_state(other, Admin.DRAIN)
    for _ in range(times):
        client = Client(lb, "/broken")
        client.end()
        assert (client.status, client.served_by) == (500, "node1")
    for other in others:
        lb.hook().set_state(other, Admin.READY)


def test_errors_from_before_the_return_are_not_held_against_a_node(site: Site) -> None:
    fail_users(site.balancers[0], 3)
    assert soak().poll(soaking(site, returned(site))) is None


def test_a_node_that_fails_its_users_goes_out_again(site: Site) -> None:
    trigger, wait = soak(), soaking(site, returned(site), allowed=2)
    fail_users(site.balancers[1], 2)
    assert trigger.poll(wait) is None
    fail_users(site.balancers[1], 1)

    with pytest.raises(TooManyErrorsError, match="lb2 counted 3 answers of 5xx, 0 failed connections") as caught:
        trigger.poll(wait)

    assert "at most 2 may be" in caught.value.found
    said = trigger.settle(wait, caught.value)
    assert said.startswith("node1 was taken out of rotation again on lb1, lb2")
    assert site.rotation() == [DRAINING, DRAINING]


def test_a_balancer_that_was_restarted_does_not_hide_what_came_since(site: Site) -> None:
    fail_users(site.balancers[0], 2)
    trigger, wait = soak(), soaking(site, returned(site))
    site.balancers[0].restart()
    site.balancers[0].until_checked("node1", "node2", "node3")
    fail_users(site.balancers[0], 1)

    with pytest.raises(TooManyErrorsError, match="lb1 counted 1 answers of 5xx"):
        trigger.poll(wait)


def test_a_node_that_the_others_cannot_do_without_stays_in(site: Site) -> None:
    trigger, wait = soak(), soaking(site, returned(site))
    fail_users(site.balancers[0], 1)
    site.set_everywhere("node2", Admin.DRAIN)

    with pytest.raises(TooManyErrorsError) as caught:
        trigger.poll(wait)

    assert "node1 stays in rotation all the same: " in trigger.settle(wait, caught.value)
    assert site.rotation() == [IN, IN]


def test_a_node_that_was_passed_over_is_not_watched(site: Site) -> None:
    earlier = {**returned(site), "passed_over": True}
    found = soak().poll(soaking(site, earlier, seconds=3600))
    assert isinstance(found, dict)
    assert found["did"] == "was passed over: nothing to watch"


def test_a_return_records_what_was_counted_before_it(site: Site) -> None:
    fail_users(site.balancers[0], 2)
    with service(site.root, f"releases/{NEW}", site.profile.port):
        site.take_out()
        left = site.bring_back()

    assert left["errors"]["lb1"]["http_5xx"] == 2
    assert left["errors"]["lb2"]["http_5xx"] == 0
