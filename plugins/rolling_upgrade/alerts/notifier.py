"""The failure callback of every task: each failure alerts once, with the whole message.

Where Airflow 3.3.2 calls it, as it was seen running:

- A task that raises, mapped or not: in the task's process, with ``context["exception"]``.
- A trigger that raises: the same, on a worker that Airflow starts for it.
- A trigger that ends its task with TaskFailedEvent: in the dag processor, about a second later, without exception and
  without ``dag_run``. Connections can be had there, and the XCom ``failure`` that came with the event, as JSON text.
- A worker that is killed: not at all. ``deaths`` therefore keeps the last retry for raising in its stead.
- A task that Airflow fails by itself (never started, heartbeats lost): in the dag processor, without a message. The
  same call comes for a task that is cleared while it runs, and that has not failed. So its state is asked for first.

Airflow stores each call for the dag processor, and makes it once. So the callback suffices, and triggers need not send.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from rolling_upgrade.alerts.alert import UNMAPPED, What
from rolling_upgrade.alerts.sending import about, send, write
from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet.inventory import load_named

log = logging.getLogger(__name__)

FAILURE_KEY = "failure"
"""The XCom in which a trigger leaves its message."""
SETTLE_SECONDS = 5.0
"""How long a state may take to follow the call."""
NO_MESSAGE = (
    "Found: Airflow failed this task from outside: it never started, or its worker was not heard of any more.\n"
    "Expected: a task that ends by itself.\n"
    "Safe now: the next node does not begin; what the task had begun is as it was left.\n"
    "Next: look at Airflow's scheduler and workers, then clear this task: it looks at what is done and goes on."
)


class FleetNotifier(BaseNotifier):
    """Tells those whom the fleet file names. ``fleet`` is its name. It never raises for a channel that fails."""

    def __init__(self, *, fleet: str) -> None:
        super().__init__()
        self.fleet = fleet

    def notify(self, context: Any) -> None:
        ti, error = context["ti"], context.get("exception")
        if error is not None:
            message = str(error) or type(error).__name__
        elif has_failed(ti):
            message = message_of_trigger(ti) or NO_MESSAGE
        else:
            log.info("no alert: %s has not failed", ti.task_id)
            return
        alert = about(self.fleet, ti, What.FAILED, message, node=node_of(ti))
        try:
            fleet = load_named(self.fleet)
        except RefusedError as refused:
            write(alert)
            log.error("the alert was only logged, since nobody knows whom to tell: %s", refused)
            return
        send(fleet, alert)


def has_failed(ti: Any) -> bool:
    """Whether Airflow holds it failed, within SETTLE_SECONDS. A state that cannot be asked counts as failed."""
    key = ti.task_id if ti.map_index in (None, UNMAPPED) else f"{ti.task_id}_{ti.map_index}"
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            states = RuntimeTaskInstance.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id])
        except Exception:  # noqa: BLE001 - better one alert too many than none
            return True
        if states.get(ti.run_id, {}).get(key) == "failed":
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def message_of_trigger(ti: Any) -> str | None:
    """What the task's trigger said, if one did."""
    said = _pulled(ti, ti.task_id, FAILURE_KEY, UNMAPPED if ti.map_index is None else ti.map_index)
    if not isinstance(said, str):
        return None
    try:
        # What comes with an event is encoded twice, and decoded once.
        return str(json.loads(said))
    except ValueError:
        return said


def node_of(ti: Any) -> str | None:
    """The node of the task: its argument, or for a wait the one of the list that it takes its node from."""
    node = getattr(ti.task, "node", None)
    if isinstance(node, str) and "{{" not in node:
        return node
    arguments = getattr(ti.task, "start_trigger_args", None)
    source = (getattr(arguments, "trigger_kwargs", None) or {}).get("nodes_from")
    names = _pulled(ti, source, "return_value", UNMAPPED) if source else None
    index = max(ti.map_index or 0, 0)
    return str(names[index]) if isinstance(names, list) and index < len(names) else None


def _pulled(ti: Any, task_id: str, key: str, map_index: int) -> Any:
    try:
        return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=map_index)
    except Exception:  # noqa: BLE001 - an alert that says less is better than none
        return None
