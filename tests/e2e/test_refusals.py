"""What is refused, and what a dry run does: nothing is touched."""

from __future__ import annotations

from typing import Any

import pytest

from include.demo import lab
from include.demo.airflow_runner import RunningAirflow
from tests.e2e.rehearsal import DAG_ID, main_pids, run_to_its_end

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NODES = ["node1", "node2", "node3"]


def world() -> tuple[Any, Any, dict[str, str]]:
    status = lab.read_json("status", "--json")
    rotation = [(node["name"], node["rotation"], node["releases"], node["current"]) for node in status["nodes"]]
    return rotation, status["database_heads"], main_pids(NODES)


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"target_release": "27.0.9"}, ["'27.0.9'", "26.1.0, 28.1.0, 30.1.0"]),
        ({"target_release": "28.1.0", "nodes": ["node1", "node'9; id"]}, ["node'9; id", "node1, node2, node3"]),
        ({"target_release": "28.1.0", "drain_timeout_seconds": 0}, ["drain_timeout_seconds is 0", "from 1 to 86400"]),
        ({"target_release": "28.1.0", "soak_seconds": "soon"}, ["soak_seconds is 'soon'", "from 0 to 86400"]),
        (
            {"target_release": "28.1.0", "max_unavailable": 2},
            ["'max_unavailable' is not known", "target_release, nodes"],
        ),
    ],
    ids=["release", "node", "timeout", "no number", "unknown field"],
)
def test_a_bad_value_is_refused_in_plan(airflow: RunningAirflow, conf: dict[str, Any], words: list[str]) -> None:
    before = world()
    run_id, state, steps = run_to_its_end(airflow, conf)
    assert state == "failed"
    assert {step.state for step in steps if step.task_id != "plan"} == {"upstream_failed"}
    log = airflow.api.log(DAG_ID, run_id, "plan")
    for word in [*words, "nothing was touched"]:
        assert word in log
    assert world() == before


def test_a_dry_run_shows_the_plan_and_ends(airflow: RunningAirflow) -> None:
    before = world()
    run_id, state, steps = run_to_its_end(airflow, {"target_release": "28.1.0", "dry_run": True, "new_node": "node3"})
    assert state == "success"
    assert {step.task_id: step.state for step in steps if step.state != "skipped"} == {"plan": "success"}
    log = airflow.api.log(DAG_ID, run_id, "plan")
    assert log.index("node3: ") < log.index("node1: ") < log.index("node2: ")
    assert "nothing was touched" in log
    assert world() == before
