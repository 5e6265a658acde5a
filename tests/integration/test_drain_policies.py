"""A drain that takes too long does what the run was told: cut by name, or ask and go on looking."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.evidence.record import read
from rolling_upgrade.fleet.inventory import OnDrainTimeout
from rolling_upgrade.triggers.drained import DrainedTrigger
from tests.integration.parts.clients import slow_request_to
from tests.integration.parts.fleets import NAME, plan
from tests.integration.parts.site import Site
from tests.integration.parts.tasks import Task, events_of, states

pytestmark = pytest.mark.integration

OUT, DRAINING = Rotation.MAINTENANCE, Rotation.DRAINING
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def drain(site: Site, policy: OnDrainTimeout, *, asked: bool = False) -> TriggerEvent:
    """How the drain of node1 ends when its time is over from the beginning."""
    task = Task(replace(plan(site.fleet), drain_timeout_seconds=0, on_drain_timeout=policy), map_index=0)
    trigger = DrainedTrigger(fleet=NAME, nodes_from="plan", asked=asked)
    (event,) = events_of(trigger, task)
    return event


@pytest.fixture(autouse=True)
def _deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, {"wait_0": "deferred"})


def test_who_chose_to_cut_is_on_record_with_what_was_cut(site: Site) -> None:
    client = slow_request_to(site.balancers[1], site.servers, "node1")
    site.take_out()

    event = drain(site, "cut")

    assert isinstance(event, TaskSuccessEvent)
    found = read((event.xcoms or {})["return_value"]) or {}
    assert found["cut"]["by"] == "the run's on_drain_timeout"
    (cut,) = found["cut"]["open"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+ for \d+ s through lb2", cut)
    assert site.rotation() == [OUT, OUT], "nothing new comes while the service is being stopped"
    assert not client.answered, "the stop cuts, and not the drain"
    site.servers["node1"].release.set()
    client.end()


def test_a_person_is_asked_and_nothing_is_cut_or_put_back(site: Site) -> None:
    client = slow_request_to(site.balancers[0], site.servers, "node1")
    site.take_out()

    event = drain(site, "ask")

    assert type(event) is TriggerEvent
    assert "node1 is not drained after 0 s" in event.payload["ask"]
    assert "through lb1" in event.payload["ask"]
    assert site.rotation() == [DRAINING, DRAINING]
    site.servers["node1"].release.set()
    client.end()
    assert client.status == 200


def test_a_node_that_drains_while_nobody_answers_goes_on_by_itself(site: Site) -> None:
    site.take_out()

    event = drain(site, "ask", asked=True)

    assert isinstance(event, TaskSuccessEvent)
    assert site.rotation() == [OUT, OUT]


@pytest.mark.parametrize(
    ("made", "ended", "since", "counts_from"),
    [
        (0, 0, None, 0),
        (100, 0, None, 100),
        (0, 100, None, 100),
        (50, 100, 300, 300),
    ],
)
def test_the_time_of_a_drain_begins_with_the_latest_of_what_began_it(
    made: int, ended: int, since: int | None, counts_from: int
) -> None:
    """The end of take_out, a clear of the task itself, or a person who chose to wait on."""

    def at(seconds: int) -> datetime:
        return LONG_AGO.replace(microsecond=0) + timedelta(seconds=seconds)

    trigger = DrainedTrigger(fleet=NAME, nodes_from="plan", since=at(since).isoformat() if since else None)
    task = Task()
    task.id = UUID(int=int(at(made).timestamp() * 1000) << 80)
    trigger.task_instance = task
    assert trigger.counts_from({"at": at(ended).isoformat()}) == at(counts_from).timestamp()


def test_a_trigger_that_is_moved_to_another_triggerer_keeps_all_it_was_told() -> None:
    trigger = DrainedTrigger(fleet=NAME, nodes_from="plan", after="take_out", asked=True, since=LONG_AGO.isoformat())
    name, arguments = trigger.serialize()
    assert name == "rolling_upgrade.triggers.drained.DrainedTrigger"
    assert DrainedTrigger(**arguments).serialize() == (name, arguments)
