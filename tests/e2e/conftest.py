"""The real thing for end-to-end tests: a lab of three nodes, and one Airflow, for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.demo import lab, session
from include.demo.airflow_runner import RunningAirflow, running_airflow
from tests.e2e.rehearsal import DAG_ID


@pytest.fixture(scope="session", autouse=True)
def _session() -> Iterator[None]:
    """One session at a time has the machine's lab; under `make test` this is the one that it holds."""
    with session.held("the end-to-end tests"):
        yield


@pytest.fixture(scope="session")
def fleet_up() -> Iterator[None]:
    """A fresh fleet on the old release, without what a killed session left at work on it.

    Tests that change it leave it serving; the lab goes down at the end.
    """
    lab.run("kill-group", "airflow")
    lab.run("kill-group", "load")
    lab.run("reset", "--release", "26.1.0", "--nodes", "3", nodes=3)
    yield
    lab.run("down")


@pytest.fixture(scope="session")
def airflow(fleet_up: None) -> Iterator[RunningAirflow]:
    """Airflow as the demo runs it, with the lab's fleet file and connections."""
    state = lab.state()
    with running_airflow(
        fleets=state / "fleets", dag_ids=[DAG_ID], connections=state / "access" / "connections.json"
    ) as running:
        yield running
