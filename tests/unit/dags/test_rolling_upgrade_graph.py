"""The graph keeps the order of the manual, whatever Airflow does with it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from rolling_upgrade.alerts.deaths import DEATHS


@pytest.fixture(scope="module")
def dag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag("dags/glance_rolling_upgrade.py")
    assert bag.import_errors == {}
    return bag.dags["glance_rolling_upgrade_lab"]


def before(dag: Any, first: str, second: str) -> bool:
    return first in dag.get_task(second).get_flat_relative_ids(upstream=True)


ORDER = [
    "plan",
    "preflight",
    "stage_release",
    "backup_database",
    "check_database",
    "new_node_out.take_out",
    "new_node_out.drained",
    "new_node_out.stop",
    "new_node_out.switch_release",
    "expand",
    "expand_complete",
    "migrate",
    "migration_complete",
    "new_node_in.start",
    "new_node_in.healthy",
    "new_node_in.return_to_rotation",
    "new_node_in.soak",
    "remaining_nodes.turn",
    "remaining_nodes.take_out",
    "remaining_nodes.drained",
    "remaining_nodes.stop",
    "remaining_nodes.switch_release",
    "remaining_nodes.start",
    "remaining_nodes.healthy",
    "remaining_nodes.return_to_rotation",
    "remaining_nodes.soak",
    "no_old_services",
    "approve_contract",
    "contract",
    "contract_complete",
    "verify",
    "report",
]


@pytest.mark.parametrize(("first", "second"), list(itertools.pairwise(ORDER)))
def test_the_steps_follow_the_manual(dag: Any, first: str, second: str) -> None:
    assert before(dag, first, second)


def test_every_step_of_the_graph_has_its_place(dag: Any) -> None:
    assert set(dag.task_ids) == {*ORDER, "line_up"}


def test_what_follows_the_nodes_runs_only_when_none_has_failed(dag: Any) -> None:
    for task_id in dag.task_ids:
        assert dag.get_task(task_id).trigger_rule in ("all_success", "none_failed"), task_id


def test_waits_start_in_the_triggerer(dag: Any) -> None:
    waits = {
        "turn",
        "drained",
        "healthy",
        "soak",
        "migration_complete",
        "no_old_services",
        "expand_complete",
        "contract_complete",
    }
    for task_id in dag.task_ids:
        assert dag.get_task(task_id).start_from_trigger is (task_id.rpartition(".")[2] in waits), task_id


def test_a_wait_that_fails_is_not_begun_again_by_itself(dag: Any) -> None:
    """A drain that timed out has put its node back: no retry may take it out again before a person has looked."""
    for task_id, task in dag.task_dict.items():
        assert task.retries == (0 if task.start_from_trigger else DEATHS), task_id


def test_a_fleet_file_that_is_wrong_takes_no_other_fleet_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    shutil.copy("include/fleets/lab.yaml", tmp_path / "z.yaml")
    (tmp_path / "a.yaml").write_text("name: 'half")
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path))
    with pytest.warns(UserWarning, match=r"a\.yaml cannot be used"):
        bag = DagBag("dags/glance_rolling_upgrade.py")
    assert set(bag.dags) == {"glance_rolling_upgrade_lab"}


def test_a_second_run_is_not_queued_but_refused_by_its_plan(dag: Any) -> None:
    assert dag.max_active_runs == 16


def test_the_form_offers_what_the_inventory_has(dag: Any) -> None:
    params = dag.params
    assert set(params) == {
        "target_release", "nodes", "new_node", "drain_timeout_seconds", "on_drain_timeout", "soak_seconds", "contract",
        "dry_run",
    }  # fmt: skip
    assert params.get_param("nodes").schema["examples"] == ["node1", "node2", "node3"]
    assert params.get_param("on_drain_timeout").schema["examples"] == ["hold", "ask", "cut"]
    assert params["on_drain_timeout"] == "hold"
    assert params.get_param("target_release").schema["examples"] == ["26.1.0", "28.1.0", "30.1.0"]


def test_every_failure_alerts_and_only_the_death_of_a_worker_is_tried_again(dag: Any) -> None:
    from rolling_upgrade.alerts.deaths import DEATHS, NoErrorIsRetried
    from rolling_upgrade.alerts.notifier import FleetNotifier

    for task_id in dag.task_ids:
        task = dag.get_task(task_id)
        (callback,) = task.on_failure_callback
        assert isinstance(callback, FleetNotifier), task_id
        assert callback.fleet == "lab"
        assert isinstance(task.retry_policy, NoErrorIsRetried), task_id
        assert task.retries == (0 if task.start_from_trigger else DEATHS), task_id


def test_no_field_of_the_form_is_drawn_as_a_box_for_json(dag: Any) -> None:
    """As Airflow 3.3 draws a field of several types that has neither choices nor examples."""
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert isinstance(schema["type"], str) or "enum" in schema or "examples" in schema, name
