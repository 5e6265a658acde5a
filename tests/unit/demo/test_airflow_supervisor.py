"""The supervisor with a small program in place of Airflow, which behaves as badly as Airflow may."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.demo import airflow_supervisor, processes

COMPONENT = """#!{python}
import os, signal, sys, time
name = sys.argv[1]
if name == "scheduler" and os.fork() == 0:
    # A task: in a process group of its own, and deaf.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.environ["AIRFLOW_HOME"] + "/task", "w").write(str(os.getpid()))
    time.sleep(60)
open(os.environ["AIRFLOW_HOME"] + "/up-" + name, "w").close()
while not os.path.exists(os.environ["AIRFLOW_HOME"] + "/break-" + name):
    time.sleep(0.05)
sys.exit(7)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "logs").mkdir()
    (tmp_path / "environment.json").write_text(json.dumps({"AIRFLOW_HOME": str(tmp_path)}))
    airflow = tmp_path / "airflow"
    airflow.write_text(COMPONENT.format(python=sys.executable))
    airflow.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-I", airflow_supervisor.__file__, str(tmp_path), str(airflow), "0.5"],
        stderr=subprocess.PIPE,
        text=True,
    )
    marks = [tmp_path / f"up-{name}" for name in airflow_supervisor.COMPONENTS]
    assert processes.wait_until(lambda: all(m.exists() for m in [*marks, tmp_path / "task"]), 20)
    yield process
    processes.end_carrying("AIRFLOW_HOME", str(tmp_path), patience=0.1)
    process.kill()
    process.communicate()


def record_of(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "supervisor.json").read_text())
    return found


def kill_component(home: Path, name: str) -> dict[str, Any]:
    """Kill it as a crash would, and wait until the record names another one."""
    before = record_of(home)["components"][name]
    os.kill(before["pid"], signal.SIGKILL)
    assert processes.wait_until(lambda: record_of(home)["components"].get(name, before) != before, 20)
    after: dict[str, Any] = record_of(home)["components"][name]
    return after


def test_sigterm_ends_components_and_deaf_tasks(supervisor: subprocess.Popen[str], tmp_path: Path) -> None:
    record = record_of(tmp_path)
    assert record["pid"] == supervisor.pid
    assert record["start_time"] == processes.start_time(supervisor.pid)
    assert set(record["components"]) == set(airflow_supervisor.COMPONENTS)
    for known in record["components"].values():
        assert known["start_time"] == processes.start_time(known["pid"])
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    assert processes.carrying("AIRFLOW_HOME", str(tmp_path)) == []


def test_a_component_that_dies_is_started_again_without_what_it_left(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    others = {name: one for name, one in record_of(tmp_path)["components"].items() if name != "scheduler"}
    task = int((tmp_path / "task").read_text())
    (tmp_path / "task").unlink()
    (tmp_path / "up-scheduler").unlink()

    after = kill_component(tmp_path, "scheduler")

    assert processes.wait_until(lambda: (tmp_path / "up-scheduler").exists() and (tmp_path / "task").exists(), 20)
    assert processes.start_time(after["pid"]) == after["start_time"]
    assert processes.start_time(task) is None, "a task would go on beside its next try"
    record = record_of(tmp_path)
    assert {name: one for name, one in record["components"].items() if name != "scheduler"} == others
    assert supervisor.poll() is None
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    assert processes.carrying("AIRFLOW_HOME", str(tmp_path)) == []


def test_a_component_that_cannot_run_ends_all(supervisor: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "break-triggerer").touch()
    assert supervisor.wait(20) == 1
    assert supervisor.stderr is not None
    said = supervisor.stderr.read()
    assert said.count("triggerer ended by itself with 7; it is started again") == airflow_supervisor.RESTARTS
    assert said.count("all is ended") == 1
    assert processes.carrying("AIRFLOW_HOME", str(tmp_path)) == []


def test_restarts_of_one_component_do_not_use_up_those_of_another(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    for _ in range(airflow_supervisor.RESTARTS):
        kill_component(tmp_path, "triggerer")
    kill_component(tmp_path, "dag-processor")
    assert supervisor.poll() is None


def test_restarts_long_ago_do_not_count(tmp_path: Path) -> None:
    one = airflow_supervisor.Supervisor(tmp_path, tmp_path / "airflow", 1)
    died_at = (1000.0, 1010.0, 1020.0, 1059.0, 1061.0, 1062.0)
    assert [one.may_start_again("scheduler", at) for at in died_at] == [True, True, True, False, True, False]


def test_with_a_port_nothing_else_starts_before_the_api_server_answers_and_sigterm_is_heard(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "environment.json").write_text(json.dumps({"AIRFLOW_HOME": str(tmp_path)}))
    airflow = tmp_path / "airflow"
    airflow.write_text(COMPONENT.format(python=sys.executable))
    airflow.chmod(0o755)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])  # taken, and nobody listens there
        command = [sys.executable, "-I", airflow_supervisor.__file__, str(tmp_path), str(airflow), "0.5"]
        process = subprocess.Popen([*command, "--api-first", port])
        assert processes.wait_until((tmp_path / "up-api-server").exists, 20)
        assert not processes.wait_until((tmp_path / "up-scheduler").exists, 1.5)
        assert list(record_of(tmp_path)["components"]) == ["api-server"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not (tmp_path / "up-scheduler").exists()
    assert processes.carrying("AIRFLOW_HOME", str(tmp_path)) == []


def test_ctrl_c_is_left_to_the_demo(supervisor: subprocess.Popen[str], tmp_path: Path) -> None:
    supervisor.send_signal(signal.SIGINT)
    supervisor.send_signal(signal.SIGHUP)
    (tmp_path / "break-scheduler").touch()
    # It is the component that cannot run, not the signal, that makes it leave.
    assert supervisor.wait(20) == 1
