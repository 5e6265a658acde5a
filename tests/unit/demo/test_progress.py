from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.demo import progress
from include.demo.progress import Instance, Order, ServerState, Snapshot, World

START = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = Order(("node2", "node1", "node3"), ("node1", "node3"))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def task(
    task_id: str, state: str | None, start: float | None = None, end: float | None = None, index: int = -1
) -> Instance:
    return Instance(task_id, index, state, None if start is None else at(start), None if end is None else at(end))


def look(*instances: Instance, world: World | None = None, now: float = 100) -> Snapshot:
    return progress.snapshot("running", now, ORDER, instances, world or World(), at(now))


def test_before_anything_has_begun_all_wait() -> None:
    shot = look(task("plan", None))
    assert {step.state for step in shot.steps} == {"waiting"}
    assert [(row.name, row.state, row.step) for row in shot.nodes] == [
        ("node2", "waiting", ""),
        ("node1", "waiting", ""),
        ("node3", "waiting", ""),
    ]


def test_a_mapped_step_counts_its_nodes() -> None:
    shot = look(*(task("preflight", state, index=i) for i, state in enumerate(["success", "running", None])))
    step = next(one for one in shot.steps if one.name == "preflight")
    assert (step.state, step.done, step.total) == ("running", 1, 3)


def test_a_deferred_wait_is_work_in_progress() -> None:
    shot = look(task("new_node_out.take_out", "success", 10, 12), task("new_node_out.drained", "deferred", 12))
    row = shot.nodes[0]
    assert (row.step, row.state, row.seconds_in_step, row.seconds_out) == ("drained", "running", 88, 90)


def test_the_new_node_waits_for_the_schema_between_its_halves() -> None:
    shot = look(
        task("new_node_out.take_out", "success", 10, 12),
        task("new_node_out.switch_release", "success", 20, 22),
        task("expand", "running", 22),
        task("new_node_in.start", None),
    )
    assert (shot.nodes[0].step, shot.nodes[0].state) == ("waiting for the schema", "running")


def test_time_out_of_rotation_ends_with_the_return() -> None:
    shot = look(
        task("new_node_out.take_out", "success", 10, 12),
        task("new_node_in.return_to_rotation", "success", 40, 42),
        task("new_node_in.soak", "deferred", 42),
    )
    assert shot.nodes[0].seconds_out == 32
    assert shot.nodes[0].step == "soak"


def test_a_node_is_done_when_all_its_steps_are() -> None:
    shot = look(*(task(name, "success", i, i + 1) for i, name in enumerate(progress.NEW_NODE)))
    assert (shot.nodes[0].step, shot.nodes[0].state) == ("", "done")


def test_a_remaining_node_is_found_by_its_place_in_the_order() -> None:
    shot = look(
        task("remaining_nodes.turn", "success", 1, 2, index=0),
        task("remaining_nodes.stop", "running", 5, index=0),
        task("remaining_nodes.turn", "deferred", 1, index=1),
    )
    assert [(row.name, row.step, row.state) for row in shot.nodes[1:]] == [
        ("node1", "stop", "running"),
        ("node3", "waiting for its turn", "waiting"),
    ]


@pytest.mark.parametrize("later", ["upstream_failed", None])
def test_a_failure_is_shown_where_it_is(later: str | None) -> None:
    shot = look(
        task("remaining_nodes.drained", "failed", 5, 9, index=1),
        task("remaining_nodes.stop", later, index=1),
        task("remaining_nodes.turn", "success", 1, 2, index=1),
    )
    assert (shot.nodes[2].step, shot.nodes[2].state) == ("drained", "failed")


def test_nodes_and_balancers_are_joined_by_name() -> None:
    servers = (ServerState("lb1", "node1", "DRAIN", 3), ServerState("lb1", "node2", "UP", 1))
    shot = look(world=World(servers, 10, 0))
    assert shot.nodes[1].servers == servers[:1]
    assert (shot.requests, shot.failed_requests) == (10, 0)


def test_instances_are_read_from_the_answer_of_the_rest_api() -> None:
    answer: list[dict[str, Any]] = [
        {
            "task_id": "plan",
            "map_index": -1,
            "state": "success",
            "start_date": "2026-01-01T00:00:01Z",
            "end_date": None,
        },
        {"task_id": "soak", "map_index": 2, "state": None, "start_date": None, "end_date": None},
    ]
    assert progress.instances_of(answer) == [task("plan", "success", 1), task("soak", None, index=2)]


@pytest.mark.parametrize(
    ("states", "holds"),
    [
        ([("new_node_out.drained", "failed"), ("expand", "upstream_failed")], True),
        ([("remaining_nodes.stop", "failed"), ("remaining_nodes.turn", "deferred")], True),
        ([("remaining_nodes.stop", "failed"), ("remaining_nodes.take_out", "running")], False),
        ([("preflight", "failed"), ("preflight", "queued")], False),
        ([("plan", "success"), ("preflight", None)], False),
        ([], False),
    ],
)
def test_a_run_holds_when_a_step_has_failed_and_nothing_is_at_work(
    states: list[tuple[str, str | None]], holds: bool
) -> None:
    instances = [progress.Instance(task_id, -1, state, None, None) for task_id, state in states]
    assert progress.holds(instances) is holds
