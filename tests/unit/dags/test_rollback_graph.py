"""The rollback takes the steps of the upgrade, one node at a time, and none that touches the database."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from rolling_upgrade.decisions.rollback import FIELDS

NODE = ["turn", "take_out", "drained", "stop", "switch_release", "start", "healthy", "return_to_rotation", "soak"]


@pytest.fixture(scope="module")
def dag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag("dags/glance_rollback.py")
    assert bag.import_errors == {}
    return bag.dags["glance_rollback_lab"]


def test_the_order_of_steps(dag: Any) -> None:
    order = ["plan", "preflight", "stage_release", *(f"nodes.{step}" for step in NODE), "verify", "report"]
    assert set(dag.task_ids) == set(order)
    for first, second in itertools.pairwise(order):
        assert first in dag.get_task(second).get_flat_relative_ids(upstream=True)


def test_a_node_waits_for_all_before_it_and_for_no_new_node(dag: Any) -> None:
    turn = dag.get_task("nodes.turn")
    assert turn.start_trigger_args.trigger_kwargs == {"last_step": "nodes.soak", "first": None}


def test_the_form_asks_for_what_plan_takes(dag: Any) -> None:
    assert set(dag.params) == set(FIELDS)
