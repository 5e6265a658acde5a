"""One run of the upgrade as a drill sees it: the states of its steps, their logs, and what a person does to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import requests

from include.demo.airflow_runner import RunningAirflow
from include.demo.rest import AirflowError
from include.lab.waiting import until
from rolling_upgrade.evidence.record import read
from tests.drills.drill import NEW, NODES, OUT_STEPS, Step
from tests.e2e.rehearsal import DAG_ID, RUN_SECONDS

EVERY = 0.2
STEP_SECONDS = 240.0
"""How long a step may take to come about: the whole rest of a run lies before some."""
LOG_SECONDS = 20.0
CONF = {"target_release": NEW, "nodes": list(NODES), "drain_timeout_seconds": 60, "soak_seconds": 1}
POOL = "/pools/default_pool"
ALL_SLOTS = 128
BROKEN = ("failed", "upstream_failed")
AT_WORK = ("running", "deferred")


class DrillError(AssertionError):
    """The run did not do what the row says."""


class Run:
    """A run of the upgrade, begun here, or of another workflow."""

    def __init__(self, airflow: RunningAirflow, conf: dict[str, Any], dag: str = DAG_ID) -> None:
        self.airflow = airflow
        self.dag = dag
        self.id = airflow.api.trigger(dag, conf if dag != DAG_ID else CONF | conf)

    def steps(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Every task instance by its task id and map index."""
        return {
            (one["task_id"], int(one["map_index"])): one for one in self.airflow.api.task_instances(self.dag, self.id)
        }

    def state(self) -> str:
        return self.airflow.api.run_state(self.dag, self.id)

    def instance(self, step: Step) -> dict[str, Any]:
        """The step's task instance; without a state where there is none yet."""
        try:
            return self.airflow.api.call("GET", self._path(step))
        except AirflowError as error:
            if error.status == 404:
                return {"state": None, "try_number": 0}
            raise

    def await_state(self, step: Step, *states: str, seconds: float = STEP_SECONDS) -> dict[str, Any]:
        """Wait until the step is in one of these states. Raises DrillError when it or another one fails before."""
        deadline, look_around = time.monotonic() + seconds, 0.0
        while (found := self.instance(step))["state"] not in states:
            self.airflow.check()
            if found["state"] in BROKEN or time.monotonic() > deadline:
                raise DrillError(f"{step} is {found['state']}, expected {'/'.join(states)}\n{self.failures()}")
            if time.monotonic() > look_around:
                self._refuse_failures()
                look_around = time.monotonic() + 3
            time.sleep(EVERY)
        return found

    def await_failed(self, steps: tuple[Step, ...]) -> None:
        """Wait until these steps have failed, and no other has; nothing after them is at work then."""
        keys = {step.key for step in steps}
        deadline = time.monotonic() + STEP_SECONDS
        while True:
            known = self.steps()
            failed = {key for key, one in known.items() if one["state"] == "failed"}
            if failed == keys and self._holds(known):
                return
            if failed - keys or time.monotonic() > deadline or self.state() == "success":
                raise DrillError(f"failed are {sorted(failed)}, expected {sorted(keys)}\n{self.failures()}")
            time.sleep(EVERY)

    def _holds(self, known: dict[tuple[str, int], dict[str, Any]]) -> bool:
        """Nothing is at work but waits. Without one Airflow ends the run, some seconds later.

        That must be over before anybody clears: Airflow 3.3.2 forgets a clear that comes right then, and the run stays
        failed with cleared tasks in it.
        """
        states = {one["state"] for one in known.values()}
        return "running" not in states and ("deferred" in states or self.state() == "failed")

    def await_end(self) -> None:
        """Wait until the run has ended well. Raises DrillError when a step of it fails."""
        deadline = time.monotonic() + RUN_SECONDS
        while (state := self.state()) != "success":
            self.airflow.check()
            self._refuse_failures()
            if time.monotonic() > deadline:
                raise DrillError(f"the run is {state} after {RUN_SECONDS:.0f} s")
            time.sleep(0.4)

    def await_log(self, step: Step, parts: tuple[str, ...], *, tries: int | None = None) -> str:
        """Wait until the log of the step's newest try holds each part, and return it."""
        said = ""

        def missing() -> list[str]:
            nonlocal said
            said = self.log(step, tries)
            return [part for part in parts if part not in said]

        deadline = time.monotonic() + LOG_SECONDS
        while lacks := missing():
            if time.monotonic() > deadline:
                raise DrillError(f"the log of {step} does not say {lacks}; it says:\n{said}")
            time.sleep(EVERY)
        return said

    def log(self, step: Step, tries: int | None = None) -> str:
        task, index = step.key
        number = tries or int(self.instance(step)["try_number"]) or 1
        try:
            return self.airflow.api.log(self.dag, self.id, task, number, index)
        except (AirflowError, requests.RequestException) as error:
            return f"(no log: {error})"

    def failures(self) -> str:
        """The logs of all steps that have failed."""
        return "\n".join(
            f"--- {task}[{index}], try {one['try_number']}\n"
            + self.airflow.api.log(self.dag, self.id, task, max(1, int(one["try_number"])), index)[-4000:]
            for (task, index), one in self.steps().items()
            if one["state"] == "failed"
        )

    def clear(self, steps: tuple[Step, ...]) -> None:
        """As an operator does: these steps with what follows them, of that node alone where they are a node's."""
        keys = [step.key for step in steps]
        self.airflow.api.clear(self.dag, self.id, [task if index < 0 else (task, index) for task, index in keys])

    def mark_failed(self, step: Step) -> None:
        self.airflow.api.call("PATCH", self._path(step), json={"new_state": "failed"})

    def answer(self, step: Step, option: str) -> None:
        """Answer the question that the step asks, over the API that Airflow's page uses. Waits for the question."""
        task, index = step.key
        path = f"/dags/{self.dag}/dagRuns/{self.id}/taskInstances/{task}/{index}/hitlDetails"
        until(lambda: self._asks(step, path), f"the question of {step}", seconds=60, every=EVERY)
        self.airflow.api.call("PATCH", path, json={"chosen_options": [option]})

    def question(self, step: Step) -> None:
        """Wait until the step asks."""
        task, index = step.key
        path = f"/dags/{self.dag}/dagRuns/{self.id}/taskInstances/{task}/{index}/hitlDetails"

        def asked() -> bool:
            self._refuse_failures()
            return self._asks(step, path)

        until(asked, f"the question of {step}", seconds=90, every=EVERY)

    def _asks(self, step: Step, path: str) -> bool:
        """The step has written its question and left its worker; only then does it take an answer."""
        if self.instance(step)["state"] != "deferred":
            return False
        try:
            return not self.airflow.api.call("GET", path).get("response_received")
        except AirflowError as error:
            if error.status == 404:
                return False
            raise

    def xcom(self, step: Step, key: str = "return_value") -> Any:
        task, index = step.key
        return self.airflow.api.xcom(self.dag, self.id, task, key, index)

    def began(self, step: Step) -> datetime:
        return datetime.fromisoformat(self.instance(step)["start_date"])

    def ended(self, step: Step) -> datetime:
        """From the step's own record: Airflow 3.3 keeps an old end of a wait in the triggerer that was cleared."""
        found = read(self.xcom(step))
        if found is None:
            raise DrillError(f"{step} has left no record")
        return datetime.fromisoformat(found["at"])

    @contextmanager
    def held_before(self, step: Step) -> Iterator[None]:
        """Hold the run back right before the step begins, as a pool without slots does, while the body runs."""
        self.await_state(before(step), *AT_WORK, "success")
        self._slots(0)
        try:
            found = self.await_state(step, "scheduled", "success", *AT_WORK)
            if found["state"] != "scheduled":
                raise DrillError(f"{step} had begun before it could be held back")
            yield
        finally:
            self._slots(ALL_SLOTS)

    def _slots(self, number: int) -> None:
        self.airflow.api.call("PATCH", POOL, params={"update_mask": "slots"}, json={"slots": number})

    def _refuse_failures(self) -> None:
        if any(one["state"] == "failed" for one in self.steps().values()):
            raise DrillError(f"a step has failed that should not have\n{self.failures()}")

    def _path(self, step: Step) -> str:
        task, index = step.key
        path = f"/dags/{self.dag}/dagRuns/{self.id}/taskInstances/{task}"
        return f"{path}/{index}" if index >= 0 else path


def before(step: Step) -> Step:
    """The step whose end lets this one begin."""
    if step.task in ("stage_release", "preflight"):
        return Step("plan") if step.task == "preflight" else Step("preflight", step.node)
    if step.task == "take_out":
        return Step("check_database") if step.node == NODES[0] else Step("turn", step.node)
    if step.task == "start" and step.node == NODES[0]:
        return Step("migration_complete")
    if step.task in ("expand", "migrate"):
        return Step("switch_release", NODES[0]) if step.task == "expand" else Step("expand_complete")
    if step.task == "approve_contract":
        return Step("no_old_services")
    order = (*OUT_STEPS, "start", "healthy", "return_to_rotation", "soak")
    return Step(order[order.index(step.task) - 1], step.node)
