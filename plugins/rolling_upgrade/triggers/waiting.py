"""A wait that runs in the triggerer: polls the world until it is as it must be, and holds no worker.

The task goes straight to the triggerer (``start_from_trigger``) and ends there. A restart of the triggerer begins
the wait again from the world as it is. Blocking questions run on threads, so waits do not hold up each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from rolling_upgrade.decisions.planning import Plan
from rolling_upgrade.errors import RollingUpgradeError, UnreachableError
from rolling_upgrade.evidence.record import Record, read
from rolling_upgrade.fleet.inventory import Fleet, Node, load_named
from rolling_upgrade.services.profile import ServiceProfile
from rolling_upgrade.services.registry import profile_of

SILENCE_SECONDS = 300.0
"""How long something may be silent without a break before a wait ends and a person is told."""


@dataclass(frozen=True)
class Skip:
    """The wait does not apply in this run."""

    why: str


@dataclass(frozen=True)
class Ask:
    """A person must decide; the task goes to a worker, which asks."""

    message: str


@dataclass(frozen=True)
class Wait:
    """What a wait works with."""

    fleet: Fleet
    profile: ServiceProfile
    plan: Plan
    node: Node
    """The node of this task; the new node for tasks that concern the whole fleet."""
    began: float
    """``time.time()`` from which the wait counts; a restart of the triggerer does not change it."""
    earlier: Record | None = None
    """What the step before this wait left behind."""

    @property
    def release(self) -> str:
        return self.plan.target_release

    @property
    def elapsed(self) -> float:
        return max(0.0, time.time() - self.began)


class WaitTrigger(BaseTrigger):
    """``nodes_from`` names the task whose result lists the nodes; a mapped task takes the one at its own index.

    ``after`` names the step that the wait follows; its record tells when the wait began.
    """

    poll_seconds: float = 1.0

    def __init__(self, fleet: str, nodes_from: str, after: str | None = None) -> None:
        super().__init__()
        self.fleet = fleet
        self.nodes_from = nodes_from
        self.after = after
        self._said = ""
        self._silent_since: float | None = None
        self._wait: Wait | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        cls = type(self)
        arguments = {"fleet": self.fleet, "nodes_from": self.nodes_from, "after": self.after}
        return f"{cls.__module__}.{cls.__qualname__}", arguments

    def poll(self, wait: Wait) -> Record | Skip | Ask | None:
        """Look once. A record ends the wait well, Skip skips the task, None polls again; an error fails the task."""
        raise NotImplementedError

    def settle(self, wait: Wait, error: Exception) -> str:
        """Leave things safe after a failure; returns what was done, or nothing. Must not raise RollingUpgradeError."""
        return ""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        wait: Wait | None = None
        try:
            self._wait = wait = await self._begin()
            while (outcome := await self._poll(wait)) is None:
                await asyncio.sleep(self.poll_seconds)
        except Exception as error:
            # Whatever it is: a trigger that raises would leave the task to a worker, which knows nothing of this wait.
            if not isinstance(error, RollingUpgradeError):
                self.log.exception("an error that this wait does not know")
            settled = await self._settle(wait, error) if wait else ""
            message = "\n".join(filter(None, [str(error) or type(error).__name__, settled]))
            self.log.error("%s", message)
            yield TaskFailedEvent(xcoms={"failure": message})
            return
        if isinstance(outcome, Skip):
            self.log.info("%s", outcome.why)
            yield TaskSkippedEvent()
            return
        if isinstance(outcome, Ask):
            self.log.warning("%s", outcome.message)
            yield TriggerEvent({"ask": outcome.message})
            return
        self.log.info("%s: %s", wait.node.name, outcome["did"])
        yield TaskSuccessEvent(xcoms={"return_value": {"node": wait.node.name, **outcome}})

    def say(self, text: str) -> None:
        """Log what is being waited for, each time that it changes."""
        if text != self._said:
            self._said = text
            self.log.info("%s", text)

    async def _poll(self, wait: Wait) -> Record | Skip | Ask | None:
        try:
            outcome = await sync_to_async(self.poll, thread_sensitive=False)(wait)
        except UnreachableError as error:
            self._silent_since = self._silent_since or time.monotonic()
            if time.monotonic() - self._silent_since > SILENCE_SECONDS or self.gives_up(wait):
                raise
            self.say(f"still waiting: {error.found}")
            return None
        self._silent_since = None
        return outcome

    def gives_up(self, wait: Wait) -> bool:
        """Whether something that cannot be asked ends the wait now, and not only after SILENCE_SECONDS."""
        return False

    async def _settle(self, wait: Wait, error: Exception) -> str:
        """Settle, unless somebody has cleared or marked the task meanwhile: then it is no longer this one's to do."""
        try:
            if await self._is_still_mine():
                return await sync_to_async(self.settle, thread_sensitive=False)(wait, error)
        except Exception as error:
            self.log.exception("nothing was settled")
            return f"What this task had begun was left as it is: {error or type(error).__name__}"
        return ""

    async def on_kill(self) -> None:
        """Settle where somebody marked the task or its run as failed.

        Airflow calls this as well for a task that was cleared, that was answered, or that another triggerer took
        over; then it goes on, and there is nothing to settle.
        """
        if self._wait and await self._state() == "failed":
            killed = RuntimeError("somebody marked the task as failed")
            settled = await sync_to_async(self.settle, thread_sensitive=False)(self._wait, killed)
            self.log.warning("%s. %s", killed, settled)

    async def _is_still_mine(self) -> bool:
        return await self._state() == "deferred"

    async def _state(self) -> str | None:
        """The state of this task now."""
        ti: Any = self.task_instance
        answer = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id]
        )
        key = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
        state = answer.get(ti.run_id, {}).get(key)
        return str(state) if state else None

    async def _begin(self) -> Wait:
        ti: Any = self.task_instance
        # One value at a time: the triggerer answers no question for several, and leaves it waiting for ever.
        plan = Plan.from_dict(await ti.axcom_pull(task_ids="plan", key="plan", map_indexes=-1))
        names = await ti.axcom_pull(task_ids=self.nodes_from, map_indexes=-1)
        fleet = load_named(self.fleet)
        name = names[max(ti.map_index, 0)]
        earlier = read(await ti.axcom_pull(task_ids=self.after, map_indexes=ti.map_index)) if self.after else None
        return Wait(fleet, profile_of(fleet.service), plan, fleet.node(name), self.counts_from(earlier), earlier)

    def counts_from(self, earlier: Record | None) -> float:
        """From when the wait counts (``time.time()``): the end of the step before it, or this try's own making.

        The later of both: a task that was cleared counts anew, and one that was only waiting for its turn does not.
        """
        if earlier is None:
            return time.time()
        ti: Any = self.task_instance
        # Airflow's id of a try is a UUID of version 7; its first 48 bits are the milliseconds at which it was made.
        made = (UUID(str(ti.id)).int >> 80) / 1000
        return max(made, datetime.fromisoformat(earlier["at"]).timestamp())
