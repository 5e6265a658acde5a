"""A workflow in which each kind of task fails in its own way, and one is cleared while it runs.

The fleet is the lab's by name and address only: no connection to any part of it exists, so nothing is ever asked.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from airflow.sdk import DAG, task, task_group

from rolling_upgrade.alerts.deaths import default_args
from rolling_upgrade.evidence.record import Record
from rolling_upgrade.fleet.inventory import load_named
from rolling_upgrade.operators.service import StopOperator
from rolling_upgrade.operators.step import NodeOperator
from rolling_upgrade.sensors.waits import SoakSensor
from tests.integration.parts.fleets import plan as plan_of

FLEET = "alerted"


class KilledOperator(NodeOperator):
    """Does not live to say why."""

    def execute(self, context: Any) -> Record:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it was killed")


with DAG("failing", schedule=None, default_args=default_args(FLEET)):

    @task(task_id="plan")
    def plan(ti: Any) -> list[str]:
        fleet = load_named(FLEET)
        ti.xcom_push(key="plan", value=plan_of(fleet).to_dict())
        return list(fleet.node_names)

    @task
    def cleared(ti: Any) -> None:
        if ti.try_number == 1:
            time.sleep(300)

    @task_group
    def each(node: str) -> None:
        SoakSensor(task_id="soak", fleet=FLEET, nodes_from="plan")

    nodes = plan()
    at = {"fleet": FLEET, "map_index_template": "{{ task.node }}"}
    stop = StopOperator.partial(task_id="stop", drained="plan", **at).expand(node=nodes)
    killed = KilledOperator(task_id="killed", fleet=FLEET, node="{{ ti.xcom_pull(task_ids='plan')[0] }}")
    nodes >> [killed, cleared(), SoakSensor(task_id="soak", fleet=FLEET, nodes_from="plan")]
    each.expand(node=nodes)
