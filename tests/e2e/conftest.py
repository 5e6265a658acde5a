"""The real thing for end-to-end tests: a lab of three nodes, and one Airflow, for the whole session."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _session(machine_session: None) -> None:
    """One session at a time has the machine's lab; under `make test` this is the one that it holds."""
