"""The steps that every node goes through, strictly one node at a time."""

from __future__ import annotations

from typing import Any

from airflow.sdk import task_group

from rolling_upgrade.operators.rotation import ReturnToRotationOperator, TakeOutOperator
from rolling_upgrade.operators.service import StartOperator, StopOperator, SwitchReleaseOperator
from rolling_upgrade.sensors.drained import DrainedSensor
from rolling_upgrade.sensors.waits import HealthySensor, SoakSensor, TurnSensor


def one_node_at_a_time(fleet: str, group: str, nodes: Any, *, nodes_from: str, first: str | None = None) -> Any:
    """A task group mapped over ``nodes``, the result of the task ``nodes_from``; a node begins in its turn.

    ``first`` is the last step of a node that goes before all of them, if one does.
    """

    @task_group(group_id=group)
    def steps(node: str) -> None:
        at: dict[str, Any] = {"fleet": fleet, "node": node, "map_index_template": "{{ task.node }}"}
        wait: dict[str, Any] = {"fleet": fleet, "nodes_from": nodes_from}
        (
            TurnSensor(task_id="turn", last_step=f"{group}.soak", first=first)
            >> TakeOutOperator(task_id="take_out", **at)
            >> DrainedSensor(task_id="drained", after=f"{group}.take_out", **wait)
            >> StopOperator(task_id="stop", drained=f"{group}.drained", **at)
            >> SwitchReleaseOperator(task_id="switch_release", **at)
            >> StartOperator(task_id="start", **at)
            >> HealthySensor(task_id="healthy", after=f"{group}.start", **wait)
            >> ReturnToRotationOperator(task_id="return_to_rotation", left=f"{group}.take_out", **at)
            >> SoakSensor(task_id="soak", after=f"{group}.return_to_rotation", **wait)
        )

    return steps.expand(node=nodes)
