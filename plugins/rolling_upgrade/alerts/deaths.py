"""A task whose process is killed fails with a message and an alert, like every other.

Airflow 3.3.2 fails a task whose process was killed (or ran out of memory, or whose worker is lost) without calling
anything in its stead while it has no retries left. So tasks have retries, of which no error makes use:
only a death does. The next try finds the mark of the one before it, does not begin the step, and raises.

The mark is Airflow's count of clears in this run with the task's ``max_tries``: clearing changes one or both, so what a
person starts again is not taken for a death. (``max_tries`` alone does not change for a task cleared while it runs.)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from rolling_upgrade.alerts.notifier import FleetNotifier
from rolling_upgrade.errors import PrecheckError

MARK = "begun"
RETRIES = 3
"""More than one, for a try that dies before it has told of the death before."""


class NoErrorIsRetried(RetryPolicy):
    """An error is final: the rollout holds, and a person looks."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        return RetryDecision.fail()


def refuse_after_a_death(context: Any) -> None:
    """Before each try. Raises PrecheckError when the one before it has begun its step and nobody has cleared it since.

    A try that died earlier than that has done nothing, and the step is begun.
    """
    ti, store = context["ti"], context["task_state_store"]
    now = {"clears": context["dag_run"].clear_number or 0, "max_tries": ti.max_tries}
    before = store.get(MARK)
    store.set(MARK, {**now, "try": ti.try_number})
    if isinstance(before, dict) and before == {**now, "try": before.get("try")} and before["try"] != ti.try_number:
        raise PrecheckError(
            f"the process that ran try {before['try']} of this task ended before the task did: it was killed, ran out "
            "of memory, or its worker was stopped or lost.",
            expected="a task that ends by itself.",
            safe="the step was not begun again, and the next node does not begin; what it had begun is as it was left.",
            next_step="look why the process ended; then clear this task: it looks at what is done and goes on.",
        )


def default_args(fleet: str) -> dict[str, Any]:
    """What every task of a fleet's workflow has, so that each of its failures alerts once."""
    return {
        "on_failure_callback": FleetNotifier(fleet=fleet),
        "retries": RETRIES,
        "retry_delay": timedelta(0),
        "retry_policy": NoErrorIsRetried(),
        "pre_execute": refuse_after_a_death,
    }
