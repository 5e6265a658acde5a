"""Two runs want the same fleet: the second is refused by the name of the first, until the first is over."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from include.demo import lab
from include.demo.airflow_runner import RunningAirflow
from include.lab.waiting import until
from rolling_upgrade.fleet import inventory
from tests.e2e.rehearsal import DAG_ID, RUN_SECONDS, main_pids, run_to_its_end

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODES = ["node1", "node2", "node3"]
UPGRADE = {"target_release": "28.1.0", "nodes": ["node1"], "soak_seconds": 1}
REFUSED_SECONDS = 60.0
"""Some ten times what a plan needs; a run that is queued instead waits for as long as the first one does."""
SERVICE_PORT = 9292


@contextmanager
def connection_that_no_drain_waits_out(node: str) -> Iterator[None]:
    """A connection to the service itself: the node's drain cannot end while it is open."""
    fleet = inventory.load(lab.state() / "fleets" / "lab.yaml")
    with socket.create_connection((fleet.node(node).address, SERVICE_PORT), timeout=5):
        yield


def fleet_as_it_is() -> tuple[Any, dict[str, str]]:
    status = lab.read_json("status", "--json")
    return [(node["name"], node["rotation"], node["releases"], node["current"]) for node in status["nodes"]], main_pids(
        NODES
    )


def claims() -> list[tuple[str, ...]]:
    """Who holds what, as the operator's login sees it."""
    import MySQLdb

    login = json.loads((lab.state() / "access" / "connections.json").read_text())["lab_database"]
    connection = MySQLdb.connect(
        host=login["host"], port=int(login["port"]), user=login["login"], password=login["password"]
    )
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT database_name, run_id FROM rolling_upgrade.claims")
        return list(cursor.fetchall())
    finally:
        connection.close()


def test_a_second_run_is_refused_until_the_first_is_over(airflow: RunningAirflow) -> None:
    def state_of(run_id: str, task_id: str) -> str | None:
        every = airflow.api.task_instances(DAG_ID, run_id)
        return next((one["state"] for one in every if one["task_id"] == task_id), None)

    def rotation_of_node1() -> set[str]:
        return set(lab.read_json("status", "--json")["nodes"][0]["rotation"].values())

    if {release for _, _, _, release in fleet_as_it_is()[0]} != {"26.1.0"}:
        lab.run("reset", "--release", "26.1.0", "--nodes", "3", nodes=3)
    with connection_that_no_drain_waits_out("node1"):
        # Given a run that waits in the middle of a drain
        first = airflow.api.trigger(DAG_ID, UPGRADE)
        until(lambda: state_of(first, "new_node_out.drained") == "deferred", "the drain", seconds=RUN_SECONDS)
        until(lambda: rotation_of_node1() == {"MAINT"}, "the wait for the connection", seconds=60)
        before = fleet_as_it_is()

        # When another run wants the fleet, then it is refused by the name of the first, and nothing has changed
        asked_at = time.monotonic()
        second, state, steps = run_to_its_end(airflow, {**UPGRADE, "nodes": ["node2"]})
        assert time.monotonic() - asked_at < REFUSED_SECONDS
        assert state == "failed"
        assert {step.state for step in steps if step.task_id != "plan"} == {"upstream_failed"}
        log = airflow.api.log(DAG_ID, second, "plan")
        assert f"fleet lab is held by run {first} of {DAG_ID}" in log
        assert "mark it failed in Airflow" in log
        assert fleet_as_it_is() == before
        assert claims() == [("glance", first)]
        assert airflow.api.run_state(DAG_ID, first) == "running"

        # A dry run may look, and says who holds it
        looking, state, _ = run_to_its_end(airflow, {**UPGRADE, "dry_run": True})
        assert state == "success"
        assert f"the fleet is held by run {first} of {DAG_ID}" in airflow.api.log(DAG_ID, looking, "plan")
        assert claims() == [("glance", first)]

        # When the first is marked failed, then the next run takes over
        airflow.api.set_run_state(DAG_ID, first, "failed")
        third = airflow.api.trigger(DAG_ID, UPGRADE)
        until(lambda: state_of(third, "plan") == "success", "the plan", seconds=60)
        assert claims() == [("glance", third)]

        # And a step of the first that is cleared now is refused by the name of the third
        airflow.api.clear(DAG_ID, first, ["new_node_out.take_out"], downstream=False)
        until(lambda: state_of(first, "new_node_out.take_out") == "failed", "the cleared step", seconds=60)
        assert f"fleet lab is held by run {third} of {DAG_ID}" in airflow.api.log(
            DAG_ID, first, "new_node_out.take_out", 2
        )

    until(lambda: airflow.api.run_state(DAG_ID, third) == "success", "the rest of the run", seconds=RUN_SECONDS)
    assert rotation_of_node1() == {"UP"}
    assert fleet_as_it_is()[0][0][3] == "28.1.0"
    # And leaves the fleet to whoever comes next
    assert claims() == []
