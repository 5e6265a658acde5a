"""What may happen to a running Airflow in a rehearsal: its processes are killed, it is stopped and started.

Every process is found by what is certain: the record that our own supervisor keeps, or the id of the task instance,
which the process carries as its title, below our supervisor. None is found by a broad name.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from include.demo import airflow_runner, processes
from include.demo.airflow_runner import RunningAirflow

FIND_SECONDS = 15.0
RESTART_SECONDS = 60.0
WORKER_TITLE = "airflow worker -- LocalExecutor"


class AirflowFaultError(RuntimeError):
    """The fault could not be brought about; the message says what was found. Nothing else was killed."""


def kill_task_process(
    airflow: RunningAirflow, dag_id: str, run_id: str, task_id: str, map_index: int = -1, *, worker: bool = False
) -> int:
    """SIGKILL the process that runs this task instance now; with ``worker`` its LocalExecutor worker as well.

    Returns the task's pid once it is dead. A worker that lives sees the death and reports it at once; without it, it
    is noticed by the silence of the heartbeat. Raises AirflowFaultError where no process runs it, as for a wait in
    the triggerer.
    """
    found: list[tuple[int, str]] = []

    def look() -> bool:
        instance = _instance(airflow, dag_id, run_id, task_id, map_index)
        if instance["state"] not in ("queued", "running", "restarting"):
            raise AirflowFaultError(f"{task_id}[{map_index}] is {instance['state']}; expected it to run in a process.")
        found[:] = _processes_of(airflow, str(instance["id"]))
        return bool(found)

    if not processes.wait_until(look, FIND_SECONDS):
        raise AirflowFaultError(f"{task_id}[{map_index}] runs in no process below Airflow's supervisor.")
    (pid, start_time), *others = found
    if others:
        raise AirflowFaultError(f"{task_id}[{map_index}] runs in {len(found)} processes; expected one.")
    if worker:
        _kill_worker_of(pid)
    if processes.start_time(pid) == start_time:
        processes.send([pid], signal.SIGKILL)
    if not processes.wait_until(lambda: processes.start_time(pid) != start_time, FIND_SECONDS):
        raise AirflowFaultError(f"process {pid} of {task_id}[{map_index}] was killed and lives.")
    return pid


def kill_component(airflow: RunningAirflow, name: str) -> int:
    """SIGKILL a component (``scheduler``, ``triggerer``, ``dag-processor``, ``api-server``).

    Its supervisor ends what it leaves and starts it again; returns the new process's pid as soon as there is one. It
    then still needs seconds until it works. Raises AirflowFaultError.
    """
    before = _component(airflow, name)
    if processes.start_time(before["pid"]) != before["start_time"]:
        raise AirflowFaultError(f"{name} does not run; expected process {before['pid']}.")
    processes.send([before["pid"]], signal.SIGKILL)

    def again() -> bool:
        return bool(_record(airflow)["components"].get(name, before) != before)

    if not processes.wait_until(again, RESTART_SECONDS):
        raise AirflowFaultError(f"{name} was killed and not started again within {RESTART_SECONDS:.0f} s.")
    return int(_component(airflow, name)["pid"])


def restart(airflow: RunningAirflow, dag_ids: Sequence[str] = ()) -> None:
    """Airflow stopped, tasks and all, and started on the same database. Raises AirflowNotReadyError."""
    airflow_runner.end(airflow)
    airflow_runner.start_again(airflow, dag_ids)


def _instance(airflow: RunningAirflow, dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, Any]:
    for one in airflow.api.task_instances(dag_id, run_id):
        if (one["task_id"], one["map_index"]) == (task_id, map_index):
            return one
    raise AirflowFaultError(f"run {run_id} has no task instance {task_id}[{map_index}].")


def _processes_of(airflow: RunningAirflow, instance_id: str) -> list[tuple[int, str]]:
    """Pids and start times of processes that run this task instance, below our supervisor."""
    wanted = f"airflow worker -- {instance_id}"
    found = []
    for pid in processes.descendants(_record(airflow)["pid"]):
        start_time = processes.start_time(pid)
        if start_time is not None and _title(pid) == wanted:
            found.append((pid, start_time))
    return found


def _kill_worker_of(pid: int) -> None:
    parent = processes.parent(pid)
    if parent is None or not _title(parent).startswith(WORKER_TITLE):
        raise AirflowFaultError(f"the parent of process {pid} is no LocalExecutor worker; nothing was killed.")
    processes.send([parent], signal.SIGKILL)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""  # it has ended meanwhile


def _component(airflow: RunningAirflow, name: str) -> dict[str, Any]:
    components: dict[str, dict[str, Any]] = _record(airflow)["components"]
    try:
        return components[name]
    except KeyError:
        raise AirflowFaultError(f"{name!r} is no component; expected one of {', '.join(components)}.") from None


def _record(airflow: RunningAirflow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(airflow.place.supervisor_record.read_text())
    return found
