"""A real upgrade of three nodes from 26.1.0 to 28.1.0 under load, watched from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from include.demo import lab
from include.demo.airflow_runner import RunningAirflow
from include.lab.load.lines import Operation, read_operations
from tests.e2e.rehearsal import DAG_ID, Sampler, Step, logs_of, main_pids, on_node, run_to_its_end

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NODES = ["node2", "node1", "node3"]
"""Another order than the inventory's, to see that the order asked for is kept."""
NEW_NODE = ["take_out", "drained", "stop", "switch_release"]
NODE_IN = ["start", "healthy", "return_to_rotation", "soak"]
BEFORE = [
    "plan",
    "preflight",
    "stage_release",
    "backup_database",
    "check_database",
    *(f"new_node_out.{step}" for step in NEW_NODE),
    "expand",
    "expand_complete",
    "migrate",
    "migration_complete",
    *(f"new_node_in.{step}" for step in NODE_IN),
]
REMAINING = [f"remaining_nodes.{step}" for step in ["turn", *NEW_NODE, *NODE_IN]]
AFTER = ["no_old_services", "approve_contract", "contract", "contract_complete", "verify", "report"]
IN_FLIGHT = timedelta(milliseconds=500)
"""A request that began this long before a drain was set may still have gone to the node."""


@dataclass(frozen=True)
class Upgrade:
    """What was seen of one run."""

    steps: dict[tuple[str, int], Step]
    report: dict[str, Any]
    sampler: Sampler
    load: dict[str, Any]
    operations: list[Operation]
    records: dict[tuple[str, str], dict[str, Any]]

    def of(self, task_id: str) -> list[Step]:
        return [step for (name, _), step in self.steps.items() if name == task_id]


@pytest.fixture(scope="module")
def upgrade(airflow: RunningAirflow) -> Upgrade:
    lab.run("reset", "--release", "26.1.0", "--nodes", "3", nodes=3)
    lab.run("load", "start")
    try:
        with Sampler() as sampler:
            run_id, state, steps = run_to_its_end(
                airflow, {"target_release": "28.1.0", "nodes": NODES, "drain_timeout_seconds": 200, "soak_seconds": 3}
            )
        assert state == "success", logs_of(airflow, run_id, steps, "failed")
    finally:
        load = lab.read_json("load", "stop", "--json")
    return Upgrade(
        steps={(step.task_id, step.index): step for step in steps},
        report=airflow.api.xcom(DAG_ID, run_id, "report"),
        sampler=sampler,
        load=load,
        operations=read_operations(lab.state() / "load" / "operations.jsonl"),
        records={
            (node, step): airflow.api.xcom(DAG_ID, run_id, f"{group}.{step}", map_index=index)
            for index, node in enumerate(NODES, -1)
            for step, group in (
                ("take_out", "new_node_out" if index < 0 else "remaining_nodes"),
                ("return_to_rotation", "new_node_in" if index < 0 else "remaining_nodes"),
            )
        },
    )


def test_no_request_failed_and_every_image_is_as_it_should_be(upgrade: Upgrade) -> None:
    # A load that was killed or broke saw no failure, because it saw nothing.
    assert upgrade.load["ended_by_itself"] is True
    assert upgrade.load["fault_of_the_load"] is None
    assert upgrade.load["audit"]["complete"] is True
    assert upgrade.load["images_unfinished"] == 0
    assert upgrade.load["requests"] > 300
    assert upgrade.load["failed_requests"] == 0, upgrade.load["failures"]
    assert upgrade.load["images_left_wrong"] == []


def test_the_load_had_long_transfers_in_both_directions_through_every_node(upgrade: Upgrade) -> None:
    for kind in ("slow_upload", "slow_download"):
        assert any(one.op == kind and one.seconds > 15 for one in upgrade.operations), kind
    assert {one.server for one in upgrade.operations} >= set(NODES)


def test_every_node_is_proven_on_the_new_release(upgrade: Upgrade) -> None:
    assert [node["name"] for node in upgrade.report["nodes"]] == NODES
    assert {node["release_proven"] for node in upgrade.report["nodes"]} == {"28.1.0"}
    status = lab.read_json("status", "--json")
    assert {node["name"]: node["releases"] for node in status["nodes"]} == {key: ["28.1.0"] for key in sorted(NODES)}


def test_the_schema_is_contracted(upgrade: Upgrade) -> None:
    assert upgrade.report["db_check"] == 0
    assert upgrade.report["db_heads"] == ["2024_1_contract01"]


def test_the_steps_before_the_remaining_nodes_ran_in_the_order_of_the_manual(upgrade: Upgrade) -> None:
    for first, second in pairwise(BEFORE):
        assert last_end(upgrade, first) <= first_start(upgrade, second), f"{second} began before {first} had ended"


def test_the_remaining_nodes_ran_one_after_the_other(upgrade: Upgrade) -> None:
    came_back = last_end(upgrade, "new_node_in.soak")
    for index in range(len(NODES) - 1):
        chain = [upgrade.steps[task_id, index] for task_id in REMAINING]
        for first, second in pairwise(chain):
            assert moment(first.end) <= moment(second.start), f"{second} began before {first} had ended"
        # The turn itself waits from early on; what follows it may begin only when the node before is back.
        assert came_back <= moment(chain[1].start)
        came_back = moment(chain[-1].end)
    assert came_back <= first_start(upgrade, "contract")


def test_contract_came_after_the_proof(upgrade: Upgrade) -> None:
    for first, second in pairwise([REMAINING[-1], *AFTER[1:]]):
        assert last_end(upgrade, first) <= first_start(upgrade, second)
    assert last_end(upgrade, "no_old_services") <= first_start(upgrade, "contract")
    assert last_end(upgrade, REMAINING[-1]) <= last_end(upgrade, "no_old_services")


def test_the_new_nodes_own_clock_tells_the_same_order(upgrade: Upgrade) -> None:
    """What systemd on the node noted: phases while the service was stopped, and contract after its start."""

    def noted(unit: str, moment_of: str) -> int:
        return int(on_node(NODES[0], "systemctl", "show", "-p", f"{moment_of}Monotonic", "--value", unit))

    phases = [f"glance-db-{phase}-28.1.0" for phase in ("expand", "migrate", "contract")]
    started = noted("glance-api", "ExecMainStartTimestamp")
    ends = [noted(unit, "ExecMainExitTimestamp") for unit in phases]
    starts = [noted(unit, "ExecMainStartTimestamp") for unit in phases]
    assert 0 < starts[0] < ends[0] < starts[1] < ends[1] < started < starts[2] < ends[2]


def test_never_was_more_than_one_node_out(upgrade: Upgrade) -> None:
    samples = upgrade.sampler.samples
    gaps = upgrade.sampler.gaps()
    assert len(samples) >= 2 * upgrade.report["duration_s"] * 0.9, "too few samples to say"
    assert median(gaps) <= 0.5
    assert max(gaps) <= 2.0, "a node might have been out in between, unseen"
    assert {count for _, _, count in samples} == {3}
    assert max(len(out) for _, out, _ in samples) == 1
    assert frozenset().union(*(out for _, out, _ in samples)) == set(NODES)


def test_no_request_began_on_a_node_that_was_out(upgrade: Upgrade) -> None:
    for node in NODES:
        left = datetime.fromisoformat(upgrade.records[node, "take_out"]["at"]) + IN_FLIGHT
        # `ready` is set a little before the step sees UP everywhere and ends.
        back = moment(_return_step(upgrade, node).start)
        served = [
            one for one in upgrade.operations if one.server == node and left <= datetime.fromisoformat(one.at) < back
        ]
        assert served == []


def test_a_second_run_passes_over_what_is_done(upgrade: Upgrade, airflow: RunningAirflow) -> None:
    before = main_pids(NODES)
    with Sampler() as sampler:
        run_id, state, steps = run_to_its_end(airflow, {"target_release": "28.1.0", "soak_seconds": 0})
    assert state == "success", logs_of(airflow, run_id, steps, "failed")
    assert main_pids(NODES) == before
    assert {out for _, out, _ in sampler.samples} == {frozenset()}
    report = airflow.api.xcom(DAG_ID, run_id, "report")
    assert [node["out_of_rotation_s"] for node in report["nodes"]] == [0.0, 0.0, 0.0]


def moment(value: datetime | None) -> datetime:
    assert value is not None
    return value


def last_end(upgrade: Upgrade, task_id: str) -> datetime:
    return max(moment(step.end) for step in upgrade.of(task_id))


def first_start(upgrade: Upgrade, task_id: str) -> datetime:
    return min(moment(step.start) for step in upgrade.of(task_id))


def _return_step(upgrade: Upgrade, node: str) -> Step:
    index = NODES.index(node) - 1
    group = "new_node_in" if index < 0 else "remaining_nodes"
    return upgrade.steps[f"{group}.return_to_rotation", index]
