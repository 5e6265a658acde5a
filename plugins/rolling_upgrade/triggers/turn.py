"""A node's permission to begin: every node before it has finished all its steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from rolling_upgrade.decisions.turns import unfinished_before


class TurnTrigger(BaseTrigger):
    """Holds while a node before this one is at work, failed, cleared or not begun; it never fails by itself.

    ``first`` is the last step of the node that goes before all of the group, ``last_step`` that of each in it.

    It has no edge to the other nodes in the graph, so clearing one of them clears no turn.
    """

    poll_seconds = 0.5

    def __init__(self, last_step: str, first: str | None = None) -> None:
        super().__init__()
        self.last_step = last_step
        self.first = first

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__qualname__}", {"last_step": self.last_step, "first": self.first}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        ti: Any = self.task_instance
        said: object = None
        while waits_for := unfinished_before(ti.map_index, await self._states(ti), self.last_step, self.first):
            if waits_for != said:
                said = waits_for
                self.log.info("waits for %s", ", ".join(waits_for))
            await asyncio.sleep(self.poll_seconds)
        self.log.info("every node before this one has finished")
        yield TaskSuccessEvent()

    async def _states(self, ti: Any) -> dict[str, str | None]:
        answer = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=list(filter(None, [self.first, self.last_step]))
        )
        return dict(answer.get(ti.run_id, {}))
