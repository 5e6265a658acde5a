"""What the end-to-end tests ask the lab and Airflow, and a run that they watch from outside."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from include.demo import lab
from include.demo.airflow_runner import RunningAirflow
from include.lab import settings
from include.lab.waiting import until
from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet import inventory
from rolling_upgrade.hooks.balancer import BalancerHook

DAG_ID = "glance_rolling_upgrade_lab"
PARKED = "awaiting_input"
RUN_SECONDS = 600.0
SAMPLE_SECONDS = 0.4
OVER = ("success", "failed", "skipped", "upstream_failed", "removed")


def on_node(node: str, *command: str) -> str:
    """What a command on a node prints."""
    words = [str(lab.COMMAND), "shell", node, "--", *command]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def question(airflow: RunningAirflow, run_id: str, task: str) -> dict[str, Any]:
    """Wait until the task waits for a person, and return what it asks.

    The task writes its question before it waits. On SQLite, which locks no rows, Airflow 3.3.2 keeps an answer that
    comes between the two and tells nobody.
    """
    found: dict[str, Any] = {}

    def asked() -> bool:
        airflow.check()
        if airflow.api.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}")["state"] != PARKED:
            return False
        found.update(airflow.api.call("GET", _question_path(run_id, task)))
        return not found.get("response_received")

    until(asked, f"the question of {task}", seconds=RUN_SECONDS, every=0.5)
    return found


def answer(airflow: RunningAirflow, run_id: str, task: str, option: str) -> None:
    """Answer it, over the API that Airflow's page uses, until the task has taken the answer.

    It may ask again. Airflow 3.3.2 takes a task for lost that is queued before the end of its worker is noticed, and
    an answer within a second or two of the question queues it; its next try forgets the answer and asks anew.
    """

    def taken() -> bool:
        airflow.check()
        state = airflow.api.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}")["state"]
        asks = state == PARKED and not airflow.api.call("GET", _question_path(run_id, task)).get("response_received")
        if asks:
            airflow.api.call("PATCH", _question_path(run_id, task), json={"chosen_options": [option]})
        return state in ("success", "failed")

    until(taken, f"{task} to take the answer", seconds=RUN_SECONDS, every=0.5)


def _question_path(run_id: str, task: str) -> str:
    return f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}/-1/hitlDetails"


def main_pids(nodes: list[str]) -> dict[str, str]:
    """The service's main process on each node: another one means that it was stopped."""
    return {
        node: on_node(node, "systemctl", "show", "-p", "MainPID", "--value", "glance-api").strip() for node in nodes
    }


@dataclass
class Sampler:
    """Looks at all balancers at once, more than twice a second, and keeps which servers do not take requests."""

    samples: list[tuple[float, frozenset[str], int]] = field(default_factory=list)
    """When (``time.time()``), servers that are not UP on some balancer, and how many servers there are."""

    def __enter__(self) -> Self:
        fleet = inventory.load(lab.state() / "fleets" / "lab.yaml")
        addresses = {one.name: (one.address, one.admin_port) for one in settings.BALANCERS}
        self._hooks = [BalancerHook(balancer, addresses[balancer.name]) for balancer in fleet.balancers]
        self._end = threading.Event()
        self._began = self._ended = time.time()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(10)
        self._ended = time.time()

    def gaps(self) -> list[float]:
        """Seconds between two samples, and from the beginning to the first and from the last to the end."""
        return [
            after - before for before, after in pairwise([self._began, *(at for at, _, _ in self.samples), self._ended])
        ]

    def _run(self) -> None:
        due = time.monotonic()
        with ThreadPoolExecutor(len(self._hooks)) as pool:
            while not self._end.wait(max(0.0, due - time.monotonic())):
                # By the clock, not by a pause: what the question takes must not come on top.
                due = max(due + SAMPLE_SECONDS, time.monotonic())
                at = time.time()
                try:
                    views = [view for seen in pool.map(BalancerHook.servers, self._hooks) for view in seen]
                except UnreachableError:
                    continue  # a sample less; the test demands enough of them, and no long gap
                out = frozenset(view.server for view in views if not view.status.startswith("UP"))
                self.samples.append((at, out, len({view.server for view in views})))


@dataclass(frozen=True)
class Step:
    """One task instance of a run that is over."""

    task_id: str
    index: int
    state: str
    start: datetime | None
    end: datetime | None


def run_to_its_end(airflow: RunningAirflow, conf: dict[str, Any]) -> tuple[str, str, list[Step]]:
    """Trigger, wait until the run is over; returns its id, its state and its steps."""
    run_id = airflow.api.trigger(DAG_ID, conf)
    deadline = time.monotonic() + RUN_SECONDS
    while (state := airflow.api.run_state(DAG_ID, run_id)) not in ("success", "failed"):
        airflow.check()
        failed = [one["task_id"] for one in airflow.api.task_instances(DAG_ID, run_id) if one["state"] == "failed"]
        if failed and failed[0] != "plan":
            break  # the run holds for a person; here there is none
        assert time.monotonic() < deadline, f"the run is {state} after {RUN_SECONDS:.0f} s"
        time.sleep(0.5)
    return run_id, state, [_step(one) for one in airflow.api.task_instances(DAG_ID, run_id)]


def logs_of(airflow: RunningAirflow, run_id: str, steps: list[Step], state: str) -> str:
    """The logs of all steps in that state, for a message."""
    return "\n".join(
        f"--- {step.task_id}[{step.index}]\n{airflow.api.log(DAG_ID, run_id, step.task_id, 1, step.index)}"
        for step in steps
        if step.state == state
    )


def _step(one: dict[str, Any]) -> Step:
    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(one[name]) if one[name] else None

    return Step(one["task_id"], int(one["map_index"]), str(one["state"]), moment("start_date"), moment("end_date"))
