"""Airflow for a rehearsal: started, made ready, and ended without leaving a process.

    with running_airflow(fleets=state / "fleets", dag_ids=["glance_rolling_upgrade_lab"]) as airflow:
        run_id = airflow.api.trigger("glance_rolling_upgrade_lab", {...})

Every start begins with an empty database, so that a run interrupted by the last end does not go on by itself,
unless ``keep_database`` says that it should.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import requests

from include.demo import airflow_settings, processes
from include.demo.airflow_settings import AirflowPlace
from include.demo.rest import AirflowApi, AirflowError
from include.lab import settings

START_SECONDS = 120.0
STOP_SECONDS = 25.0
RECORD_SECONDS = 15.0
GROUP = "airflow"
LAB = settings.PROJECT_ROOT / "lab"
HOME = settings.PROJECT_ROOT / "build" / "airflow"
SUPERVISOR = Path(__file__).with_name("airflow_supervisor.py")


class AirflowNotReadyError(RuntimeError):
    """Airflow did not come up, and nothing of it is left running; the message says how far it came."""


@dataclass
class RunningAirflow:
    """An Airflow that answers. ``lab`` is the lab's command, if it runs in the lab's cgroup.

    ``supervisor`` is another one after ``restart``.
    """

    place: AirflowPlace
    password: str
    api: AirflowApi
    supervisor: subprocess.Popen[bytes]
    lab: Path | None = None

    def check(self) -> None:
        """Raises AirflowNotReadyError when it has ended by itself."""
        if self.supervisor.poll() is not None:
            raise AirflowNotReadyError(
                f"Airflow has ended by itself; a component of it stopped. The fleet stays as the last step left it.\n"
                f"Look at {self.place.logs}/*.log.\n{_last_lines(self.place)}"
            )

    @property
    def url(self) -> str:
        return self.place.url

    @property
    def user(self) -> str:
        return airflow_settings.USER


@contextlib.contextmanager
def running_airflow(
    fleets: Path,
    dag_ids: Sequence[str] = (),
    *,
    connections: Path | None = None,
    lab: Path | None = LAB,
    home: Path = HOME,
    dags: Path = settings.PROJECT_ROOT / "dags",
    port: int = settings.AIRFLOW_PORT,
    keep_database: bool = False,
    stopping: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Iterator[RunningAirflow]:
    """Start Airflow, wait until it is healthy and has the DAGs, and end it afterwards.

    ``fleets`` is a folder of fleet files, ``connections`` a file as ``airflow connections import`` takes it.
    ``lab`` is the lab's command: with it Airflow runs in the lab's cgroup, so that taking the lab down ends
    it also after ``kill -9`` of this process. With ``keep_database`` it goes on with the runs, connections and logs
    that an earlier Airflow of this home left. ``stopping`` guards the end, against a second Ctrl-C for one.
    Raises AirflowNotReadyError.
    """
    place = AirflowPlace(home=home, project=settings.PROJECT_ROOT, port=port, dags=dags, fleets=fleets)
    end_leftovers(lab, home)
    _require_free_port(port)
    keep = keep_database and place.database.exists()
    keys = airflow_settings.write_home(place, dict(os.environ), keep_logs=keep)
    if not keep:
        _fresh_database(place)
    api = AirflowApi(place.url, airflow_settings.USER, keys.password)
    running = RunningAirflow(place, keys.password, api, _launch(place, lab, goes_on=keep), lab)
    try:
        _wait_ready(running, dag_ids)
        if connections is not None:
            api.put_connections(json.loads(connections.read_text()))
        yield running
    finally:
        with stopping():
            end(running)


def _launch(place: AirflowPlace, lab: Path | None, *, goes_on: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_command(place, lab, goes_on=goes_on), cwd=place.project, stdin=subprocess.DEVNULL)


def end(airflow: RunningAirflow) -> None:
    """End everything of this Airflow; its database stays. Idempotent."""
    # Before it has written its record it cannot be found.
    record = airflow.place.supervisor_record
    processes.wait_until(lambda: record.exists() or airflow.supervisor.poll() is not None, RECORD_SECONDS)
    stop(airflow.place.home, airflow.lab)
    with contextlib.suppress(subprocess.TimeoutExpired):
        airflow.supervisor.wait(5)


def start_again(airflow: RunningAirflow, dag_ids: Sequence[str] = ()) -> None:
    """Start an ended Airflow on the database that it had, and wait until it is ready.

    Its runs go on where they were. Raises AirflowNotReadyError; then nothing of it is left running.
    """
    _require_free_port(airflow.place.port)
    airflow.supervisor = _launch(airflow.place, airflow.lab, goes_on=True)
    try:
        _wait_ready(airflow, dag_ids)
    except BaseException:
        end(airflow)
        raise


def end_leftovers(lab: Path | None = LAB, home: Path = HOME) -> None:
    """End what an earlier run from this home has left, however that run ended.

    To be called before a lab is made anew as well: a workflow left running would go on, and upgrade the new one.
    """
    if home.exists():
        stop(home, lab)


def stop(home: Path, lab: Path | None) -> None:
    """End this home's Airflow: ask the supervisor, then insist on whatever is left. Idempotent."""
    record_path = home / "supervisor.json"
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        record = json.loads(record_path.read_text())
        pid = int(record["pid"])

        def gone() -> bool:
            return processes.start_time(pid) != str(record["start_time"])

        if not gone():
            processes.send([pid], signal.SIGTERM)
            processes.wait_until(gone, STOP_SECONDS)
    mark = "AIRFLOW_HOME", str(home)
    processes.end_carrying(*mark)
    # What this user could not end, the lab can: the group holds it, whatever has become of it.
    if processes.carrying(*mark) and lab is not None and lab.exists():
        subprocess.run([str(lab), "kill-group", GROUP], check=False, stdin=subprocess.DEVNULL)
    record_path.unlink(missing_ok=True)


def _require_free_port(port: int) -> None:
    """Raises AirflowNotReadyError when another program has the port: its answers would be taken for Airflow's."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((airflow_settings.ADDRESS, port))
        except OSError as error:
            raise AirflowNotReadyError(
                f"Port {port} of {airflow_settings.ADDRESS} cannot be had: {error}. Airflow's page needs it.\n"
                f"Nothing of Airflow was started. End the program that listens there (`ss -ltnp`), then start again."
            ) from error


def _command(place: AirflowPlace, lab: Path | None, *, goes_on: bool) -> list[str]:
    command = [sys.executable, "-I", str(SUPERVISOR), str(place.home)]
    if goes_on:
        command += ["--api-first", str(place.port)]
    if lab is not None and lab.exists():
        return [str(lab), "exec", "--group", GROUP, "--", *command]
    return command


def _fresh_database(place: AirflowPlace) -> None:
    """Put an empty, migrated database in place. Migrating takes seconds, so one is kept for each lock."""
    lock = (place.project / "requirements.lock").read_bytes()
    template = place.home / f"empty-{hashlib.sha256(lock).hexdigest()[:16]}.db"
    for old in place.home.glob("airflow.db*"):
        old.unlink()
    if not template.exists():
        airflow = Path(sys.executable).with_name("airflow")
        done = subprocess.run(
            [str(airflow), "db", "migrate"],
            env=json.loads((place.home / "environment.json").read_text()),
            cwd=place.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AirflowNotReadyError(
                f"Airflow could not make its database in {place.home}: {(done.stdout + done.stderr)[-2000:]}"
            )
        place.database.rename(template)
    shutil.copyfile(template, place.database)
    place.database.chmod(0o600)


def _wait_ready(airflow: RunningAirflow, dag_ids: Sequence[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    missing = "an answer"
    while time.monotonic() < deadline:
        if airflow.supervisor.poll() is not None:
            missing = "its supervisor, which has ended"
            break
        try:
            missing = _missing(airflow.api, dag_ids)
        except (requests.RequestException, AirflowError) as error:
            missing = f"an answer ({str(error)[:200]})"
        if not missing:
            return
        time.sleep(0.2)
    raise AirflowNotReadyError(
        f"Airflow is not ready; still missing: {missing}.\nExpected within {START_SECONDS:.0f} s: a healthy "
        f"api-server, scheduler, dag-processor and triggerer, and DAGs {', '.join(dag_ids) or '(none)'}.\n"
        f"Airflow is being ended; no run was started. Look at {airflow.place.logs}/*.log, then start again.\n"
        f"{_last_lines(airflow.place)}"
    )


def _missing(api: AirflowApi, dag_ids: Sequence[str]) -> str:
    """What is not there yet, empty when all is. Raises AirflowNotReadyError for a broken DAG file."""
    api.tasks_can_report()
    unhealthy = api.unhealthy()
    if unhealthy:
        return ", ".join(unhealthy)
    absent = [dag_id for dag_id in dag_ids if not api.dag_exists(dag_id)]
    errors = api.import_errors() if absent else []
    if errors:
        raise AirflowNotReadyError("A DAG file cannot be loaded; no run was started.\n" + "\n".join(errors))
    return ", ".join(f"DAG {dag_id}" for dag_id in absent)


def _last_lines(place: AirflowPlace) -> str:
    parts = []
    for log in sorted(place.logs.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-5:]
        parts += [f"{log.name}: {line}" for line in lines]
    return "\n".join(parts)
