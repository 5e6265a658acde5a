"""A step fails in the middle: the rollout holds, safe, until a person clears it, and then goes on by itself.

The step fails before the service is stopped, so the node goes back into rotation meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from include.demo import lab
from include.demo.airflow_runner import RunningAirflow
from include.lab.waiting import until
from tests.e2e.rehearsal import DAG_ID, RUN_SECONDS, Sampler, answer, main_pids, on_node, question

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NODES = ["node2", "node1", "node3"]
FAILING, NEXT = "node1", "node3"
STEP = "remaining_nodes.stop"
ASKS = "approve_contract"
DROP_IN = "/etc/systemd/system/glance-api.service.d/refuse.conf"
HOLD_SECONDS = 6.0
"""Some ten times what a turn needs to be handed over."""


@pytest.fixture
def unit_that_refuses_to_stop(fleet_up: None) -> Iterator[None]:
    """A fresh fleet under load; on one node systemd refuses to stop the service."""
    lab.run("reset", "--release", "26.1.0", "--nodes", "3", nodes=3)
    on_node(
        FAILING, "sh", "-c", f"mkdir -p $(dirname {DROP_IN}); printf '[Unit]\\nRefuseManualStop=yes\\n' > {DROP_IN}"
    )
    on_node(FAILING, "systemctl", "daemon-reload")
    lab.run("load", "start")
    yield
    lab.run("load", "stop")


def lift_the_fault() -> None:
    on_node(FAILING, "rm", DROP_IN)
    on_node(FAILING, "systemctl", "daemon-reload")


@pytest.mark.usefixtures("unit_that_refuses_to_stop")
def test_a_failed_step_holds_the_rollout_and_clearing_it_goes_on(airflow: RunningAirflow) -> None:
    def state_of(task_id: str, index: int = -1) -> str | None:
        every = airflow.api.task_instances(DAG_ID, run_id)
        return next((one["state"] for one in every if (one["task_id"], one["map_index"]) == (task_id, index)), None)

    with Sampler() as sampler:
        # When the second of three nodes cannot be stopped
        run_id = airflow.api.trigger(
            DAG_ID, {"target_release": "28.1.0", "nodes": NODES, "soak_seconds": 1, "contract": "ask"}
        )
        until(lambda: state_of(STEP, 0) == "failed", "the step to fail", seconds=RUN_SECONDS)

        # Then the node serves again, and the run holds: the third node goes on serving, nothing is contracted, and the
        # log says what to do
        until(lambda: not sampler.samples[-1][1], f"{FAILING} back in rotation", seconds=30)
        held_from = time.time()
        until(lambda: time.time() - held_from > HOLD_SECONDS, "some turns' time", seconds=HOLD_SECONDS * 2)
        assert airflow.api.run_state(DAG_ID, run_id) == "running"
        assert state_of("remaining_nodes.turn", 1) == "deferred"
        assert state_of("contract") == "upstream_failed"
        assert {out for at, out, _ in sampler.samples if at > held_from} == {frozenset()}
        log = airflow.api.log(DAG_ID, run_id, STEP, map_index=0)
        for part in (
            "Operation refused",
            "Expected: ",
            "Safe now: ",
            "Next: ",
            f"{FAILING} was put back into rotation",
        ):
            assert part in log
        done = main_pids([NODES[0]])

        # When the fault is lifted and the step that the log names is cleared
        assert "clear take_out of this node with what follows it" in log
        lift_the_fault()
        airflow.api.clear(DAG_ID, run_id, [("remaining_nodes.take_out", 0)])

        # Then it asks before contract, showing the proof and the backup; rejected, the run ends well without contract
        asked = question(airflow, run_id, ASKS)
        backup = airflow.api.xcom(DAG_ID, run_id, "backup_database")
        assert backup["sha256"] in asked["body"]
        assert "every node runs 28.1.0 and nothing else (node1, node2, node3)" in asked["body"]
        answer(airflow, run_id, ASKS, "Reject")
        until(lambda: airflow.api.run_state(DAG_ID, run_id) == "success", "the rest of the run", seconds=RUN_SECONDS)
        assert (state_of("contract"), state_of("contract_complete")) == ("skipped", "skipped")
        report = airflow.api.xcom(DAG_ID, run_id, "report")
        assert (report["approval"]["did"], report["approval"]["by"]) == ("rejected", airflow.user)
        assert (report["contracted"], report["db_check"]) == (False, 5)
        assert report["db_heads"] == ["2023_1_contract01", "2024_1_expand01"]

        # And a later run passes every node over, asks again, and contracts once somebody approves
        run_id = airflow.api.trigger(DAG_ID, {"target_release": "28.1.0", "nodes": NODES, "contract": "ask"})
        question(airflow, run_id, ASKS)
        answer(airflow, run_id, ASKS, "Approve")
        until(lambda: airflow.api.run_state(DAG_ID, run_id) == "success", "contract", seconds=RUN_SECONDS)

    # And what was done was not done again, and nobody noticed anything
    assert main_pids([NODES[0]]) == done
    report = airflow.api.xcom(DAG_ID, run_id, "report")
    assert {node["release_proven"] for node in report["nodes"]} == {"28.1.0"}
    assert (report["approval"]["did"], report["approval"]["by"]) == ("approved", airflow.user)
    assert (report["contracted"], report["db_check"]) == (True, 0)
    assert max(len(out) for _, out, _ in sampler.samples) == 1
    load = lab.read_json("load", "stop", "--json")
    assert load["requests"] > 300
    assert (load["failed_requests"], load["images_left_wrong"]) == (0, [])
