"""Waiting for a node to be drained, and asking a person when it takes too long and the run was told to ask."""

from __future__ import annotations

from typing import Any, NoReturn

from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, now
from rolling_upgrade.fleet.inventory import load_named
from rolling_upgrade.sensors.waits import NodeSensor

WAIT_ON, CUT, PUT_BACK = "wait on", "cut", "put back"
ANSWERS = "answers"
"""XCom key of what persons answered: each answer with who gave it and when."""


class DrainedSensor(NodeSensor):
    """Waits until nothing of the node is in flight on any balancer or on the node itself.

    It runs in the triggerer. Where the run's policy is ``ask`` and the time is over, a worker writes the question,
    as any human-in-the-loop task of Airflow does, and the wait goes on in the triggerer beside it: the node may drain
    before anybody answers.
    """

    trigger = "rolling_upgrade.triggers.drained.DrainedTrigger"

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Record:
        """On a worker: the wait asks for a person, or a person has answered."""
        if "ask" in event:
            self._ask(context, str(event["ask"]))
        return self._answered(context, event)

    def _ask(self, context: Any, message: str) -> NoReturn:
        from airflow.sdk.execution_time.hitl import upsert_hitl_detail

        from rolling_upgrade import alerts

        ti, node = context["ti"], self._node(context)
        fleet = load_named(self.fleet)
        alerts.send(fleet, alerts.about(fleet.name, ti, alerts.What.HOLDS, message, node=node))
        upsert_hitl_detail(
            ti_id=ti.id,
            options=[WAIT_ON, CUT, PUT_BACK],
            subject=f"{node} is not drained in time: wait on, cut, or put back?",
            body=f"Seen at {now()}; the newest state is in this task's log.\n\n{message}\n\n"
            f"- **{WAIT_ON}**: the time begins anew\n"
            f"- **{CUT}**: the service is stopped, and who is still served gets an error\n"
            f"- **{PUT_BACK}**: the node goes back into rotation, and the rollout holds",
            # Airflow 3.3.2 refuses its own default.
            params={},
        )
        self._wait_again(asked=True)

    def _answered(self, context: Any, event: dict[str, Any]) -> Record:
        from rolling_upgrade.hooks.claims import this_run
        from rolling_upgrade.hooks.cut import cut
        from rolling_upgrade.hooks.put_back import put_back

        answer = str(event["chosen_options"][0])
        user = event.get("responded_by_user") or {}
        by = str(user.get("name") or user.get("id") or "somebody unknown")
        fleet = load_named(self.fleet)
        node = fleet.node(self._node(context))
        self.log.info("%s chose %r for %s", by, answer, node.name)
        ti = context["ti"]
        me = this_run(ti)
        earlier = ti.xcom_pull(task_ids=ti.task_id, key=ANSWERS, map_indexes=ti.map_index) or []
        answers = [*earlier, {"answer": answer, "by": by, "at": now()}]
        ti.xcom_push(key=ANSWERS, value=answers)
        if answer == WAIT_ON:
            self._wait_again(asked=False)
        if answer == CUT:
            return {"node": node.name, **cut(fleet, node, me, by=by), "answers": answers}
        error = VerifyError(
            f"{node.name} is not drained, and {by} chose to put it back.",
            expected="a node without open requests.",
            safe="nothing was cut.",
            next_step="wait for the transfers to end, then clear take_out of this node with what follows it.",
        )
        error.settled = f"{node.name} was {put_back(fleet, node, me)}"
        raise error

    def _wait_again(self, *, asked: bool) -> NoReturn:
        from airflow.sdk.exceptions import TaskDeferred

        from rolling_upgrade.triggers.drained import DrainedTrigger

        raise TaskDeferred(
            trigger=DrainedTrigger(asked=asked, since=None if asked else now(), **self.wait),
            method_name="execute_complete",
        )

    def _node(self, context: Any) -> str:
        ti = context["ti"]
        names = ti.xcom_pull(task_ids=self.nodes_from, map_indexes=-1)
        return str(names[max(ti.map_index, 0)])
