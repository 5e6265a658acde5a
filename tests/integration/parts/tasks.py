"""What the triggerer gives to a trigger: its task, what earlier tasks left behind, and the states of other tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
import uuid6
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent

from rolling_upgrade.decisions.planning import Plan
from tests.integration.parts.fleets import NAME, RUN

RUN_SECONDS = 20.0


@dataclass
class Task:
    """The task instance of a trigger, as far as it is asked. Without a map index it stands for an unmapped task."""

    plan: Plan | None = None
    map_index: int = -1
    task_id: str = "wait"
    dag_id: str = NAME
    run_id: str = RUN
    id: UUID = field(default_factory=uuid6.uuid7)

    async def axcom_pull(self, *, task_ids: str, map_indexes: int, key: str = "return_value") -> Any:
        assert self.plan is not None
        assert map_indexes == -1, "the triggerer answers for one value at a time"
        return {"plan": self.plan.to_dict(), "return_value": list(self.plan.nodes)}[key] if task_ids == "plan" else None


@dataclass
class States:
    """Airflow's answers to the question for the states of tasks: one after the other, the last one for ever."""

    answers: list[dict[str, str | None]]
    asked: list[Sequence[str]] = field(default_factory=list)

    def get(self, *, dag_id: str, run_ids: Sequence[str], task_ids: Sequence[str]) -> dict[str, Any]:
        assert (dag_id, list(run_ids)) == (NAME, [RUN])
        self.asked.append(task_ids)
        return {RUN: self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]}


def states(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, str | None]) -> States:
    """Let Airflow answer so. There is no supervisor to ask where these tests run."""
    made = States(list(answers))
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", made.get)
    return made


def runs(monkeypatch: pytest.MonkeyPatch, known: dict[str, str]) -> None:
    """The runs that Airflow knows, by their ids, with their states; what a test changes there counts at once."""

    def count(dag_id: str, *, run_ids: Sequence[str], states: Sequence[str]) -> int:
        return sum(known.get(run_id) in states for run_id in run_ids)

    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", count)


def events_of(trigger: BaseTrigger, task: Task, *, seconds: float = RUN_SECONDS) -> list[TriggerEvent]:
    """Run a trigger to its end as the triggerer does, which comes within ``seconds``; returns its events."""
    trigger.task_instance = task

    async def run() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    return asyncio.run(asyncio.wait_for(run(), seconds))


def failure_of(events: Iterable[TriggerEvent]) -> str:
    """What a wait said when it failed the task; its one event is that."""
    (event,) = events
    assert type(event).__name__ == "TaskFailedEvent", event
    return str(event.xcoms["failure"])
