"""The supervisor with a small program in place of Airflow, which behaves as badly as Airflow may."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
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


def test_sigterm_ends_components_and_deaf_tasks(
    supervisor: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads((tmp_path / "supervisor.json").read_text())
    assert record == {"pid": supervisor.pid, "start_time": processes.start_time(supervisor.pid)}
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    assert processes.carrying("AIRFLOW_HOME", str(tmp_path)) == []


def test_when_one_component_ends_all_do(supervisor: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "break-triggerer").touch()
    assert supervisor.wait(20) == 1
    assert supervisor.stderr is not None
    assert "triggerer ended by itself with 7" in supervisor.stderr.read()
    assert processes.carrying("AIRFLOW_HOME", str(tmp_path)) == []


def test_ctrl_c_is_left_to_the_demo(supervisor: subprocess.Popen[str], tmp_path: Path) -> None:
    supervisor.send_signal(signal.SIGINT)
    supervisor.send_signal(signal.SIGHUP)
    (tmp_path / "break-scheduler").touch()
    # It is the ended component, not the signal, that makes it leave.
    assert supervisor.wait(20) == 1
