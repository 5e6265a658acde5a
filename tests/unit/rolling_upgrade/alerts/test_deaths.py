"""Which try is begun, and which one tells of the death of the one before."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from rolling_upgrade.alerts import deaths
from rolling_upgrade.errors import PrecheckError


@dataclass
class TaskInRun:
    """A task instance's tries as Airflow counts them, with the store that survives them."""

    number: int = 1
    max_tries: int = deaths.RETRIES
    clears: int | None = 0
    kept: dict[str, Any] = field(default_factory=dict)

    def begin(self) -> None:
        context = {
            "ti": SimpleNamespace(try_number=self.number, max_tries=self.max_tries),
            "dag_run": SimpleNamespace(clear_number=self.clears),
            "task_state_store": SimpleNamespace(get=self.kept.get, set=self.kept.__setitem__),
        }
        deaths.refuse_after_a_death(context)

    def dies(self) -> None:
        self.number += 1

    def is_cleared(self, *, while_running: bool = False, counted: bool = True) -> None:
        """``counted``: whether the run is told, which the REST API leaves to its caller."""
        if not while_running:
            self.max_tries = self.number + deaths.RETRIES
        self.clears = (self.clears or 0) + counted
        self.number += 1


@pytest.fixture
def task() -> TaskInRun:
    made = TaskInRun()
    made.begin()
    return made


def test_the_try_after_a_death_tells_of_it(task: TaskInRun) -> None:
    task.dies()
    with pytest.raises(PrecheckError, match="the process that ran try 1 of this task ended before the task did"):
        task.begin()


def test_a_try_that_dies_before_it_has_told_is_told_of_by_the_next(task: TaskInRun) -> None:
    task.dies()
    task.dies()
    with pytest.raises(PrecheckError, match="try 1"):
        task.begin()


@pytest.mark.parametrize("while_running", [True, False])
def test_what_a_person_clears_is_begun(task: TaskInRun, while_running: bool) -> None:
    task.is_cleared(while_running=while_running)
    task.begin()


def test_what_a_person_clears_is_begun_though_the_run_was_not_told(task: TaskInRun) -> None:
    task.is_cleared(counted=False)
    task.begin()


def test_what_is_cleared_after_a_death_is_begun_and_its_own_death_told(task: TaskInRun) -> None:
    task.dies()
    with pytest.raises(PrecheckError):
        task.begin()
    task.is_cleared()
    task.begin()
    task.dies()
    with pytest.raises(PrecheckError, match="try 3"):
        task.begin()


def test_a_try_that_goes_on_is_no_new_one(task: TaskInRun) -> None:
    task.begin()


def test_a_try_that_died_before_its_step_had_begun_has_done_nothing() -> None:
    TaskInRun(number=2).begin()


def test_an_airflow_that_counts_no_clears_is_taken_for_none(task: TaskInRun) -> None:
    task.clears = None
    task.dies()
    with pytest.raises(PrecheckError):
        task.begin()


def test_no_error_is_retried() -> None:
    decision = deaths.NoErrorIsRetried().evaluate(RuntimeError(), 1, deaths.RETRIES)
    assert decision.action.value == "fail"
