"""The demo: a real fleet, a real load, a real upgrade, watched live; and nothing left behind, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from include.demo import choices, lab, session, summary
from include.demo.airflow_runner import AirflowNotReadyError, RunningAirflow, end_leftovers, running_airflow
from include.demo.choices import Choices
from include.demo.rest import AirflowError
from include.demo.watch import HELD, SilentAirflowError, Watcher
from include.lab import lifecycle, settings
from rolling_upgrade.errors import RollingUpgradeError
from rolling_upgrade.fleet import catalogue, inventory

DAG_ID = "glance_rolling_upgrade_lab"
SUMMARY = settings.PROJECT_ROOT / "build" / "demo" / "summary.json"
SUCCESS, FAILURE, BAD_SETTING, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
EXPECTED_ERRORS = (
    lab.LabFailedError,
    AirflowNotReadyError,
    AirflowError,
    SilentAirflowError,
    RollingUpgradeError,
)


class TerminatedError(BaseException):
    """SIGTERM has arrived: like KeyboardInterrupt, it passes everything but the cleaning up."""


@dataclass
class Outcome:
    """How the run ended; None where it has not."""

    run_state: str | None = None
    report: dict[str, Any] | None = None
    load: dict[str, Any] | None = None


def main() -> int:
    """Run the demo. Returns the exit status: 0 only for a success without a failed request."""
    console = Console(highlight=False)
    try:
        chosen = choices.read(os.environ, settings.PROJECT_ROOT / "include" / "releases")
        _refuse_unsupported(chosen)
    except (choices.BadChoiceError, RollingUpgradeError) as error:
        print(error, file=sys.stderr)
        return BAD_SETTING
    signal.signal(signal.SIGTERM, _on_terminate)
    try:
        with session.held("the demo"):
            return _demo(chosen, console)
    except session.NoSessionError as error:
        print(error, file=sys.stderr)
        return session.BUSY
    except EXPECTED_ERRORS as error:
        console.print(f"The demo could not go on: {error}", markup=False, soft_wrap=True)
        return FAILURE
    except KeyboardInterrupt:
        console.print("Interrupted; everything the demo had started is stopped.")
        return INTERRUPTED
    except TerminatedError:
        console.print("Terminated; everything the demo had started is stopped.")
        return TERMINATED


def _demo(chosen: Choices, console: Console) -> int:
    _say(console, f"Building releases {chosen.from_release} and {chosen.to_release}, if they are not there yet")
    lab.run("build", chosen.from_release, chosen.to_release)
    with _running_lab(chosen, console), _airflow(console) as airflow:
        outcome = Outcome()
        try:
            with _load(outcome, console):
                outcome.run_state = _upgrade(chosen, airflow, outcome, console)
        finally:
            reasons = _conclude(chosen, outcome, console)
        if not chosen.leave_at_end:
            _stay(airflow, console)
        return FAILURE if reasons else SUCCESS


def _upgrade(chosen: Choices, airflow: RunningAirflow, outcome: Outcome, console: Console) -> str:
    """Trigger the run as the form does and follow it to its end."""
    fleet = inventory.load(lab.state() / "fleets" / "lab.yaml")
    conf = {
        "target_release": chosen.to_release,
        "nodes": list(fleet.node_names),
        "new_node": fleet.node_names[0],
        "drain_timeout_seconds": fleet.defaults.drain_timeout_seconds,
        "soak_seconds": fleet.defaults.soak_seconds,
        "dry_run": False,
    }
    run_id = airflow.api.trigger(DAG_ID, conf)
    _say(console, f"Upgrading {len(fleet.nodes)} nodes to {chosen.to_release}: {_run_url(airflow, run_id)}")
    watcher = Watcher(
        api=airflow.api,
        fleet=fleet,
        dag_id=DAG_ID,
        run_id=run_id,
        counters=lab.state() / "load" / "counters.json",
        console=console,
    )

    def on_hold() -> bool:
        """Say why the run holds; somebody may be there to clear the task, or nobody."""
        _show_failures(airflow, run_id, console)
        if chosen.leave_at_end:
            return False
        _say(console, f"The run holds. Clear the failed task and the demo goes on: {_run_url(airflow, run_id)}")
        _tell_login(airflow, console)
        return True

    state = watcher.follow(airflow.check, on_hold)
    outcome.report = airflow.api.xcom(DAG_ID, run_id, "report")
    if state not in ("success", HELD):
        _show_failures(airflow, run_id, console)
    return state


def _show_failures(airflow: RunningAirflow, run_id: str, console: Console) -> None:
    """The end of each failed task's log: it says what is safe and what to do next."""
    for one in airflow.api.task_instances(DAG_ID, run_id):
        if one["state"] == "failed":
            index = int(one["map_index"])
            log = airflow.api.log(DAG_ID, run_id, one["task_id"], int(one["try_number"]), index)
            title = one["task_id"] if index < 0 else f"{one['task_id']}[{index}]"
            console.print(f"--- {title} failed; the end of its log:", markup=False)
            console.print("\n".join(log.splitlines()[-15:]), markup=False, soft_wrap=True)


@contextlib.contextmanager
def _running_lab(chosen: Choices, console: Console) -> Iterator[None]:
    """A fresh fleet on the old release; gone afterwards."""
    _say(console, f"Bringing up {chosen.nodes} fresh nodes on {chosen.from_release}, two balancers, a database")
    if lifecycle.is_up(settings.from_environment()):
        # No demo or test holds the session, so it is a person's, or what a killed demo has left.
        _say(console, "A lab is up on this machine. It is made anew now: its nodes, database and images go")
    try:
        _end_leftovers()
        lab.run("reset", "--release", chosen.from_release, "--nodes", str(chosen.nodes), nodes=chosen.nodes)
        yield
    finally:
        with _undisturbed():
            _say(console, "Taking the lab down")
            lab.run("down")


def _end_leftovers() -> None:
    """End Airflow and load of a demo that was killed: they would go on with the new fleet, and take its nodes out."""
    end_leftovers()
    for group in ("airflow", "load"):
        lab.run("kill-group", group)


@contextlib.contextmanager
def _airflow(console: Console) -> Iterator[RunningAirflow]:
    _say(console, "Starting Airflow")
    state = lab.state()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        airflow = stack.enter_context(
            running_airflow(
                fleets=state / "fleets",
                dag_ids=[DAG_ID],
                connections=state / "access" / "connections.json",
                stopping=_undisturbed,
            )
        )
        _say(console, f"Airflow is ready after {time.monotonic() - began:.0f} s")
        _tell_login(airflow, console)
        yield airflow
        _say(console, "Stopping Airflow")


@contextlib.contextmanager
def _load(outcome: Outcome, console: Console) -> Iterator[None]:
    """Clients at work for the time inside; afterwards ``outcome.load`` is what they saw."""
    _say(console, "Starting the load")
    try:
        started = lab.read("load", "start").strip()
        _say(console, f"{started[:1].upper()}{started[1:]}")
        yield
    finally:
        with _undisturbed():
            _say(console, "Letting the load finish what it has begun, and looking at every image")
            with contextlib.suppress(lab.LabFailedError):
                outcome.load = lab.read_json("load", "stop", "--json")


def _conclude(chosen: Choices, outcome: Outcome, console: Console) -> list[str]:
    """Write and print the summary; returns why it is no success."""
    numbers = summary.build(outcome.report, outcome.load)
    reasons = summary.why_not(outcome.run_state, numbers, outcome.load, chosen.to_release, chosen.nodes)
    summary.write(numbers, SUMMARY)
    summary.show(numbers, reasons, Path(os.path.relpath(SUMMARY)), console)
    return reasons


def _tell_login(airflow: RunningAirflow, console: Console) -> None:
    console.print(f"    Airflow: {airflow.url}   user {airflow.user}   password {airflow.password}", soft_wrap=True)


def _stay(airflow: RunningAirflow, console: Console) -> None:
    """Keep everything up until Ctrl-C, which here is the ordinary end."""
    _say(console, "Everything stays up until Ctrl-C")
    _tell_login(airflow, console)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _refuse_unsupported(chosen: Choices) -> None:
    """Raises BadChoiceError for a pair that Glance does not support, before anything is brought up."""
    known = catalogue.load()
    why_not = known.why_not_from(known.release(chosen.from_release), known.release(chosen.to_release))
    if why_not:
        raise choices.BadChoiceError(f"DEMO_FROM and DEMO_TO: {why_not}. {choices.UNTOUCHED}")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Cleaning up is not cut short by an impatient second Ctrl-C; programs started inside ignore it too."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _on_terminate(_number: int, _frame: FrameType | None) -> None:
    raise TerminatedError


def _run_url(airflow: RunningAirflow, run_id: str) -> str:
    return f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}"


def _say(console: Console, text: str) -> None:
    console.print(f"[bold]==>[/] {text}", soft_wrap=True)
