"""Starting and stopping the load. Each may be repeated, and works after ``kill -9`` of the generator."""

from __future__ import annotations

import fcntl
import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from include.lab import settings
from include.lab.errors import LabError
from include.lab.load.connection import Connection, Exchange
from include.lab.load.files import give_to_owner, make_directory, read_json, write_atomically, write_json
from include.lab.load.plan import Entrance, LoadFiles, LoadPlan
from include.lab.load.result import final_result

POLL = 0.1
START_WITHIN = 30.0
"""Seconds in which the generator must have sent its first request."""
FINISH_GRACE = 30.0
"""Seconds beyond the longest silence of a request that a finishing load gets."""
SERVICE_WITHIN = 10.0
"""Seconds in which every balancer must answer before a load is started."""
END_WITHIN = 10.0
"""Seconds in which a killed generator must be gone."""

GROUP = "load"
"""The lab's cgroup in which the generator runs, so that taking the lab down ends it too."""


def new_plan(lab: settings.LabSettings, *, clients: int, slow: int) -> LoadPlan:
    """A run of its own, on the lab's balancers."""
    entrances = tuple(
        Entrance(balancer.name, balancer.address, balancer.frontend_port, balancer.admin_port)
        for balancer in settings.BALANCERS
    )
    return LoadPlan(run=secrets.token_hex(4), directory=lab.load, entrances=entrances, clients=clients, slow=slow)


def lab_launcher() -> list[str]:
    """What to put before a command so that it runs in the lab's cgroup, as the invoking user."""
    return [str(settings.PROJECT_ROOT / "lab"), "exec", "--group", GROUP, "--"]


def lab_ender() -> None:
    """End everything in the load's cgroup."""
    subprocess.run([str(settings.PROJECT_ROOT / "lab"), "kill-group", GROUP], check=False, timeout=60)


def current_plan(files: LoadFiles) -> LoadPlan | None:
    """The run that is on, or was the last one; None where there was none."""
    try:
        return LoadPlan.from_json(files.plan.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def running_pid(files: LoadFiles) -> int | None:
    """The pid of the living generator; None where none lives. The lock it holds ends with it."""
    try:
        with files.lock.open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read().strip()
                return int(text) if text else None
            return None
    except FileNotFoundError:
        return None


def start(plan: LoadPlan, launcher: Sequence[str]) -> bool:
    """Start the generator in the background and wait for its first request. False where one runs already.

    Raises LabError where Glance does not answer on every balancer, or where the generator does not begin.
    """
    files = plan.files
    make_directory(files.directory)
    with _only_one(files):
        if running_pid(files) is not None:
            return False
        _require_service(plan)
        for old in (files.operations, files.begun, files.counters, files.result, files.log, files.lock):
            old.unlink(missing_ok=True)
        write_atomically(files.plan, plan.to_json())
        _launch(plan, launcher)
    return True


def stop(files: LoadFiles, end: Callable[[], None]) -> dict[str, object]:
    """Ask the generator to finish, wait, look at all images and write the result; again: the same result.

    ``end`` ends a generator that does not finish in time. Raises LabError where no load was started.
    """
    plan = current_plan(files)
    if plan is None:
        raise LabError(
            f"no load was started: {files.plan} is missing.",
            expected="what `./lab load start` writes.",
            safe="nothing was changed.",
            next_step="./lab load start",
        )
    with _only_one(files):
        written = read_json(files.result)
        if written is not None and _complete(written):
            return written
        _finish(plan, end)
        result = final_result(plan)
        write_json(files.result, result)
    return result


def _complete(result: dict[str, object]) -> bool:
    audit = result.get("audit")
    return isinstance(audit, dict) and audit.get("complete") is True


def _finish(plan: LoadPlan, end: Callable[[], None]) -> None:
    pid = running_pid(plan.files)
    if pid is None:
        return
    # It may end by itself between the look and the signal; its lock, not its pid, says that it lived.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if _await(lambda: running_pid(plan.files) is None, plan.request_timeout + FINISH_GRACE):
        return
    end()
    if not _await(lambda: running_pid(plan.files) is None, END_WITHIN):
        raise LabError(
            f"the generator (process {pid}) neither finished nor ended.",
            expected=f"its end within {END_WITHIN:.0f} s of being killed.",
            safe=f"the lines in {plan.files.operations}; no result was written.",
            next_step=f"read {plan.files.log}, then ./lab load stop again or ./lab down",
        )


def _launch(plan: LoadPlan, launcher: Sequence[str]) -> None:
    files = plan.files
    command = [*launcher, sys.executable, "-m", "include.lab.load.generator", str(files.plan)]
    with files.log.open("ab") as log:
        give_to_owner(log.fileno())
        process = subprocess.Popen(
            command,
            cwd=settings.PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if _await(lambda: process.poll() is not None or _has_begun(plan), START_WITHIN) and _has_begun(plan):
        return
    code = process.poll()
    said = files.log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
    raise LabError(
        f"the generator {'is silent' if code is None else f'ended with {code}'} after its start; "
        f"it said: {said or 'nothing'}",
        expected=f"a first request within {START_WITHIN:.0f} s.",
        safe="the service was not changed.",
        next_step="./lab load stop, then ./lab status",
    )


def _has_begun(plan: LoadPlan) -> bool:
    counters = read_json(plan.files.counters) or {}
    requests = counters.get("requests")
    return counters.get("run") == plan.run and isinstance(requests, int) and requests > 0


def _require_service(plan: LoadPlan) -> None:
    """A load on a service that is not there would only count its own mistake."""
    for entrance in plan.entrances:
        try:
            with Connection(entrance, SERVICE_WITHIN) as connection:
                status = connection.send(Exchange(), "GET", "/v2/images?limit=1").status
                found = f"status {status}" if status != 200 else None
        except (OSError, http.client.HTTPException) as error:
            found = f"{type(error).__name__}: {error}"
        if found:
            raise LabError(
                f"{entrance.name} at {entrance.address}:{entrance.port} does not serve Glance: {found}.",
                expected="a list of images from every balancer.",
                safe="nothing was changed.",
                next_step="./lab status, then ./lab up",
            )


def _await(condition: Callable[[], bool], within: float) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


@contextmanager
def _only_one(files: LoadFiles) -> Iterator[None]:
    """Hold the control lock. Raises LabError where another start or stop is at work."""
    with files.control_lock.open("a") as lock:
        give_to_owner(lock.fileno())
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                "another start or stop of the load is at work.",
                expected="one at a time.",
                safe="nothing was changed.",
                next_step="wait for it, then ask again.",
            ) from None
        yield
