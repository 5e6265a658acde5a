"""A fresh fleet for each row, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from include.demo import lab
from include.demo.airflow_runner import RunningAirflow
from include.lab import settings
from tests.drills import summary
from tests.drills.drill import NEW, OLD, Drill
from tests.e2e.rehearsal import DAG_ID

BUILD = settings.PROJECT_ROOT / "build"
BEGAN = time.monotonic()


@pytest.fixture
def fresh_fleet(airflow: RunningAirflow, drill: Drill) -> Iterator[None]:
    """Three nodes on the old release, no fault; afterwards no run is left that could touch the next row's fleet."""
    lab.run("reset", "--release", OLD, "--nodes", "3", *(("--staged", NEW) if drill.staged else ()), nodes=3)
    yield
    for run in airflow.api.call("GET", f"/dags/{DAG_ID}/dagRuns", params={"state": ["running", "queued"]})["dag_runs"]:
        airflow.api.set_run_state(DAG_ID, run["dag_run_id"], "failed")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell of failures, and of the rows so far, at once, in files: pytest tells at the end, which may be hours away."""
    if summary.OUTCOMES and report.when == "teardown":
        _write(summary.table(summary.OUTCOMES, time.monotonic() - BEGAN))
    if report.failed:
        BUILD.mkdir(exist_ok=True)
        with (BUILD / "drills-failures.txt").open("a") as file:
            file.write(f"=== {report.nodeid} ({report.when})\n{report.longreprtext}\n")
            file.writelines(f"--- {title}\n{text}\n" for title, text in report.sections)


def pytest_sessionstart() -> None:
    (BUILD / "drills-failures.txt").unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of the rows that ran."""
    if summary.OUTCOMES:
        lines = summary.table(summary.OUTCOMES, time.monotonic() - BEGAN)
        terminalreporter.section("drills")
        for line in lines:
            terminalreporter.write_line(line)
        _write(lines)


def _write(lines: list[str]) -> None:
    BUILD.mkdir(exist_ok=True)
    (BUILD / "drills.md").write_text("\n".join(lines) + "\n")
