"""The waits of the workflow as sensors: tasks that start and end in the triggerer and hold no worker."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.triggers.base import StartTriggerArgs


class TriggererSensor(BaseOperator):
    """A task that is nothing but its trigger. A subclass names it in ``trigger``.

    A plain operator, and not a BaseSensorOperator, since it never runs on a worker: no poke, no reschedule.
    """

    start_from_trigger = True
    trigger: ClassVar[str]

    def __init__(self, *, trigger_kwargs: dict[str, Any], **kwargs: Any) -> None:
        # The retries of other tasks are for the death of their worker; here they would repeat the trigger's failure.
        super().__init__(**{**kwargs, "retries": 0})
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=self.trigger, next_method="execute_complete", trigger_kwargs=trigger_kwargs
        )

    def execute(self, context: Any) -> None:
        raise RuntimeError(
            "this task runs in the triggerer alone; run it in Airflow with a triggerer, not with dag.test()"
        )


class NodeSensor(TriggererSensor):
    """A wait on one node: the first of the list that task ``nodes_from`` returned, or the one at the map index.

    ``after`` is the step whose record tells when the wait began.
    """

    def __init__(
        self,
        *,
        fleet: str,
        nodes_from: str,
        after: str | None = None,
        more: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.fleet = fleet
        self.nodes_from = nodes_from
        self.wait = {"fleet": fleet, "nodes_from": nodes_from, "after": after}
        super().__init__(trigger_kwargs={**self.wait, **(more or {})}, **kwargs)


class TurnSensor(TriggererSensor):
    """Holds a node until every node before it in the group has finished ``last_step``, and the new node ``first``."""

    trigger = "rolling_upgrade.triggers.turn.TurnTrigger"

    def __init__(self, *, last_step: str, first: str | None = None, **kwargs: Any) -> None:
        super().__init__(trigger_kwargs={"last_step": last_step, "first": first}, **kwargs)


class MigrationCompleteSensor(NodeSensor):
    """Waits until the data migration is complete."""

    trigger = "rolling_upgrade.triggers.migration_complete.MigrationCompleteTrigger"


class PhaseCompleteSensor(NodeSensor):
    """Waits until expand or contract is complete."""

    trigger = "rolling_upgrade.triggers.phase_complete.PhaseCompleteTrigger"

    def __init__(self, *, phase: str, **kwargs: Any) -> None:
        super().__init__(more={"phase": phase}, **kwargs)


class HealthySensor(NodeSensor):
    """Waits until the node answers correctly on the new release."""

    trigger = "rolling_upgrade.triggers.healthy.HealthyTrigger"


class SoakSensor(NodeSensor):
    """Watches the node after its return."""

    trigger = "rolling_upgrade.triggers.soak.SoakTrigger"


class NoOldServicesSensor(NodeSensor):
    """Waits for the proof that no old service remains."""

    trigger = "rolling_upgrade.triggers.no_old_services.NoOldServicesTrigger"
