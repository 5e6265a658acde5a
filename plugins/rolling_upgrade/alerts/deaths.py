"""A task whose process is killed is tried again by itself, and when that does not help it fails with a message.

Every step looks at the world first, so a try after a death goes on where the dead one was. Airflow 3.3.2 fails a task
whose process was killed (or ran out of memory, or whose worker is lost) without calling anything in its stead once it
has no retries left. So the last retry is kept for telling: it does not begin the step, it says what happened. No error
makes use of a retry.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from rolling_upgrade.alerts.notifier import FleetNotifier
from rolling_upgrade.errors import PrecheckError

DEATHS = 3
"""So many deaths in a row are no accident."""
PAUSE = timedelta(seconds=3)
"""Before a try after a death, so that what killed it may pass."""


class NoErrorIsRetried(RetryPolicy):
    """An error is final: the rollout holds, and a person looks."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        return RetryDecision.fail()


def tell_of_deaths(context: Any) -> None:
    """Before each try. Raises PrecheckError in the last one that Airflow allows: all before it have died.

    Clearing a task gives it all its retries anew (Airflow raises ``max_tries``).
    """
    ti = context["ti"]
    if ti.task.retries and ti.try_number > ti.max_tries:
        raise PrecheckError(
            f"the process that ran this task ended {DEATHS} times before the task did: it was killed, ran out of "
            "memory, or its worker was stopped or lost.",
            expected="a task that ends by itself.",
            safe="the step was not begun again, and the next node does not begin; what it had begun is as it was left.",
            next_step="look why the process ended; then clear this task: it looks at what is done and goes on.",
        )


def default_args(fleet: str) -> dict[str, Any]:
    """What every task of a fleet's workflow has, so that deaths heal, and each failure alerts once."""
    return {
        "on_failure_callback": FleetNotifier(fleet=fleet),
        "retries": DEATHS,
        "retry_delay": PAUSE,
        "retry_policy": NoErrorIsRetried(),
        "pre_execute": tell_of_deaths,
    }
