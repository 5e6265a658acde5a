from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.demo import processes

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], env={"AIRFLOW_HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_process_is_known_by_what_it_carries(stubborn: subprocess.Popen[str], tmp_path: Path) -> None:
    assert processes.carrying("AIRFLOW_HOME", str(tmp_path)) == [stubborn.pid]
    assert processes.carrying("AIRFLOW_HOME", f"{tmp_path}x") == []


def test_what_does_not_listen_is_ended_all_the_same(stubborn: subprocess.Popen[str], tmp_path: Path) -> None:
    assert processes.end_carrying("AIRFLOW_HOME", str(tmp_path), patience=0.2) == 1
    assert stubborn.wait(5) == -9
    assert processes.end_carrying("AIRFLOW_HOME", str(tmp_path)) == 0


def test_a_dead_process_has_no_start_time(stubborn: subprocess.Popen[str]) -> None:
    assert processes.start_time(stubborn.pid) is not None
    stubborn.kill()
    # Killed but not yet reaped: it is there, and it is not alive.
    assert processes.wait_until(lambda: processes.start_time(stubborn.pid) is None, 5)


def test_descendants_are_found_below_their_root(stubborn: subprocess.Popen[str]) -> None:
    assert stubborn.pid in processes.descendants(os.getpid())


def test_a_wait_has_an_end() -> None:
    assert processes.wait_until(lambda: True, 0)
    assert not processes.wait_until(lambda: False, 0.1)
