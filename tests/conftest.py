"""What every test needs before anything imports Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from include.demo.airflow_runner import RunningAirflow

PROJECT_ROOT = Path(__file__).resolve().parents[1]

# Airflow reads its settings on import and writes its folder at once: keep both inside the project.
os.environ["AIRFLOW_HOME"] = str(PROJECT_ROOT / "build" / "unit-airflow")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT_ROOT / "plugins")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT_ROOT / "dags")


@pytest.fixture(scope="session")
def machine_session() -> Iterator[None]:
    """One session at a time has the machine's lab; under `make` this is the one that it holds."""
    from include.demo import session

    with session.held("tests on the lab"):
        yield


@pytest.fixture(scope="session")
def fleet_up(machine_session: None) -> Iterator[None]:
    """A fresh fleet on the old release, without what a killed session left at work on it.

    Tests that change it leave it serving; the lab goes down at the end.
    """
    from include.demo import lab

    lab.run("kill-group", "airflow")
    lab.run("kill-group", "load")
    lab.run("reset", "--release", "26.1.0", "--nodes", "3", nodes=3)
    yield
    lab.run("down")


@pytest.fixture(scope="session")
def airflow(fleet_up: None) -> Iterator[RunningAirflow]:
    """Airflow as the demo runs it, with the lab's fleet file and connections; one for end-to-end tests and drills."""
    from include.demo import lab
    from include.demo.airflow_runner import running_airflow
    from tests.e2e.rehearsal import DAG_ID

    state = lab.state()
    with running_airflow(
        fleets=state / "fleets", dag_ids=[DAG_ID], connections=state / "access" / "connections.json"
    ) as running:
        yield running
