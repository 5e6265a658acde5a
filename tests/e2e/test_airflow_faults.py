"""A real Airflow of its own, without the lab: what is killed is what was meant, and the runs go on afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.demo import airflow_faults, processes
from include.demo.airflow_faults import AirflowFaultError
from include.demo.airflow_runner import RunningAirflow, running_airflow
from include.lab.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PORT = 18099
DAGS = """
import time
from datetime import timedelta

from airflow.sdk import DAG, BaseOperator, task
from airflow.triggers.base import StartTriggerArgs


class Wait(BaseOperator):
    start_from_trigger = True
    start_trigger_args = StartTriggerArgs(
        trigger_cls="airflow.providers.standard.triggers.temporal.TimeDeltaTrigger",
        trigger_kwargs={"delta": timedelta(seconds=5), "end_from_trigger": True},
        next_method="execute_complete",
    )


with DAG("faults"):

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def work(number):
        time.sleep(6)

    work.expand(number=[1, 2])
    # Without a retry: no fault here may cost it a try. In the triggerer from its start, as the waits of the workflow:
    # Airflow 3.3.2 fails a task that begins on a worker and is queued again before the worker's end is noticed, which
    # takes up to 5 s while siblings run.
    Wait(task_id="wait")
"""


@pytest.fixture(scope="module")
def own_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    place = tmp_path_factory.mktemp("airflow")
    for name in ("dags", "fleets"):
        (place / name).mkdir()
    (place / "dags" / "faults.py").write_text(DAGS)
    with running_airflow(
        place / "fleets", ["faults"], lab=None, home=place / "home", dags=place / "dags", port=PORT
    ) as running:
        yield running
    assert processes.carrying("AIRFLOW_HOME", str(place / "home")) == []


class Run:
    """One run of the DAG."""

    def __init__(self, airflow: RunningAirflow) -> None:
        self.airflow = airflow
        self.id = airflow.api.trigger("faults", {})

    def state(self, task: str, index: int = -1) -> tuple[str | None, int]:
        """State and number of the try."""
        for one in self.airflow.api.task_instances("faults", self.id):
            if (one["task_id"], one["map_index"]) == (task, index):
                return one["state"], one["try_number"]
        return None, 0

    def awaits(self, task: str, index: int, state: str) -> None:
        until(lambda: self.state(task, index)[0] == state, f"{task}[{index}] to be {state}", seconds=120, every=0.3)

    def succeeds(self) -> None:
        until(lambda: self._over() is not None, "the end of the run", seconds=180, every=0.3)
        if self._over() != "success":
            pytest.fail(self._told())

    def _over(self) -> str | None:
        state = self.airflow.api.run_state("faults", self.id)
        return state if state in ("success", "failed") else None

    def _told(self) -> str:
        """Every task's state, tries and log, for a message."""
        api = self.airflow.api
        return "\n\n".join(
            f"{one['task_id']}[{one['map_index']}] {one['state']}: "
            + api.log("faults", self.id, one["task_id"], max(1, one["try_number"]), one["map_index"])[-3000:]
            for one in api.task_instances("faults", self.id)
        )


@pytest.mark.parametrize("worker", [False, True], ids=["task", "task and worker"])
def test_only_the_one_task_is_killed_and_tried_again(own_airflow: RunningAirflow, worker: bool) -> None:
    run = Run(own_airflow)
    for index in (0, 1):
        run.awaits("work", index, "running")
    pid = airflow_faults.kill_task_process(own_airflow, "faults", run.id, "work", 1, worker=worker)
    assert processes.start_time(pid) is None
    run.succeeds()
    assert run.state("work", 1) == ("success", 2)
    assert run.state("work", 0) == ("success", 1)


def test_a_wait_has_no_process_and_outlives_its_triggerer(own_airflow: RunningAirflow) -> None:
    run = Run(own_airflow)
    run.awaits("wait", -1, "deferred")
    with pytest.raises(AirflowFaultError, match="is deferred"):
        airflow_faults.kill_task_process(own_airflow, "faults", run.id, "wait")
    new = airflow_faults.kill_component(own_airflow, "triggerer")
    assert processes.start_time(new) is not None
    run.succeeds()
    own_airflow.check()


def test_what_is_no_component_is_refused(own_airflow: RunningAirflow) -> None:
    with pytest.raises(AirflowFaultError, match="expected one of api-server"):
        airflow_faults.kill_component(own_airflow, "worker")


def test_runs_go_on_after_the_scheduler_was_killed_and_after_a_restart(own_airflow: RunningAirflow) -> None:
    run = Run(own_airflow)
    run.awaits("work", 0, "running")
    airflow_faults.kill_component(own_airflow, "scheduler")
    run.succeeds()
    assert run.state("work", 0) == ("success", 2)

    run = Run(own_airflow)
    run.awaits("work", 0, "running")
    supervisor = own_airflow.supervisor.pid
    airflow_faults.restart(own_airflow, ["faults"])
    assert own_airflow.supervisor.pid != supervisor
    run.succeeds()
    assert run.state("work", 0) == ("success", 2)
