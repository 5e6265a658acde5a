"""Keeps Airflow's four components running and ends them together. Standard library only, to start at once.

    python -I airflow_supervisor.py HOME [AIRFLOW [PATIENCE]] [--api-first PORT]

With --api-first the other components wait until the api-server answers on that port of loopback: a scheduler with runs
to go on with hands out tasks at once, and each that cannot reach the api-server is a failed try.
AIRFLOW is its command, by default the one beside this Python; PATIENCE is how many seconds it gets to end when asked.
Reads ``HOME/environment.json``, starts the components with their logs in ``HOME/logs``, and writes
``HOME/supervisor.json`` (pid and start time, its own and each component's). SIGTERM ends everything below it,
including task processes, which Airflow gives process groups of their own. SIGINT is left to the demo, which ends
things in order.

A component that ends by itself is started again, as a service manager does: what it has left behind is ended before.
One that ends once more after RESTARTS times within PERIOD_SECONDS cannot run: then the others are ended too and the
exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

# Isolated mode leaves the project out of the path, and everything else that could slow the start.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from include.demo import processes

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_SECONDS = 8.0
KILL_SECONDS = 8.0
API_SECONDS = 90.0
RESTARTS = 3
PERIOD_SECONDS = 60.0
MARK = "REHEARSAL_COMPONENT"
"""In the environment of a component and of all that it starts: its name."""
# The log servers of scheduler and triggerer would listen on every address; here all read the same folder.
COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


class Supervisor:
    """One set of components."""

    def __init__(self, home: Path, airflow: Path, patience: float) -> None:
        self.home = home
        self.patience = patience
        self.airflow = airflow
        self.components: dict[int, str] = {}
        self.asked_to_end = False
        self.restarts: dict[str, deque[float]] = {name: deque(maxlen=RESTARTS) for name in COMPONENTS}

    def start(self, api_port: int | None = None) -> None:
        """Start all components at once, or the others when the api-server answers on ``api_port``.

        Each writes its own log. An api-server that does not answer in time does not keep the others from starting.
        """
        self._start_one("api-server")
        self._write_record()
        if api_port is not None:
            processes.wait_until(lambda: self.asked_to_end or _answers(api_port), API_SECONDS, 0.2)
        if self.asked_to_end:
            return
        for name in COMPONENTS:
            if name != "api-server":
                self._start_one(name)
        self._write_record()

    def _start_one(self, name: str) -> None:
        environment = json.loads((self.home / "environment.json").read_text())
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [str(self.airflow), *COMPONENTS[name]],
                cwd=self.home,
                env=environment | {MARK: name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.components[child.pid] = name

    def _write_record(self) -> None:
        def identity(pid: int) -> dict[str, object]:
            return {"pid": pid, "start_time": processes.start_time(pid)}

        components = {name: identity(pid) for pid, name in self.components.items()}
        temporary = self.home / ".supervisor.json.new"
        temporary.write_text(json.dumps(identity(os.getpid()) | {"components": components}))
        temporary.replace(self.home / "supervisor.json")

    def watch(self, next_signal: Callable[[], int]) -> int:
        """Start again what ends, until one cannot run or the end is asked for; then end the rest.

        Returns the exit status.
        """
        status = 0
        while not status and next_signal() != signal.SIGTERM:
            for name, code in self._reap():
                again = self.may_start_again(name, time.monotonic())
                what = "is started again" if again else f"was started again {RESTARTS} times already; all is ended"
                print(f"{name} ended by itself with {code}; it {what}", file=sys.stderr, flush=True)
                if not again:
                    status = 1
                    break
                self._end_leftovers_of(name)
                self._start_one(name)
                self._write_record()
        self.end()
        return status

    def may_start_again(self, name: str, now: float) -> bool:
        """At most RESTARTS times within PERIOD_SECONDS of ``now``, in seconds of any clock; counts this one if so."""
        earlier = self.restarts[name]
        if len(earlier) == RESTARTS and now - earlier[0] < PERIOD_SECONDS:
            return False
        earlier.append(now)
        return True

    def _end_leftovers_of(self, name: str) -> None:
        """End what a dead component has left: its workers and tasks would go on beside those of the next one."""

        def left() -> list[int]:
            below = set(processes.descendants(os.getpid()))
            return [pid for pid in processes.carrying(MARK, name) if pid in below]

        def none_left_after_kill() -> bool:
            processes.send(left(), signal.SIGKILL)
            return not left()

        processes.wait_until(none_left_after_kill, KILL_SECONDS)

    def _reap(self) -> list[tuple[str, int]]:
        """Collect what has ended, orphans too; the components among it, with their exit status."""
        ended = []
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if name := self.components.pop(found[0], None):
                    ended.append((name, os.waitstatus_to_exitcode(found[1])))
        return ended

    def end(self) -> None:
        """Ask, wait, insist: afterwards nothing that this supervisor started is left."""
        processes.send(list(self.components), signal.SIGTERM)
        # The api-server needs five seconds more to leave after it has said good-bye; it keeps nothing.
        processes.wait_until(lambda: self._left() <= {"api-server"}, self.patience)
        processes.wait_until(self._nothing_left_after_kill, KILL_SECONDS)

    def _left(self) -> set[str]:
        self._reap()
        return {self.components.get(pid, "task") for pid in processes.descendants(os.getpid())}

    def _nothing_left_after_kill(self) -> bool:
        processes.send(processes.descendants(os.getpid()), signal.SIGKILL)
        return not self._left()


def _answers(port: int) -> bool:
    """Whether what tasks talk to can be had."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/execution/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def _wakeups(supervisor: Supervisor) -> Iterator[Callable[[], int]]:
    """Signals as a queue. Blocking them would be simpler, but children inherit a mask, and no handlers."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: setattr(supervisor, "asked_to_end", True))
    signal.set_wakeup_fd(writer.fileno())
    try:
        yield lambda: reader.recv(1)[0]
    finally:
        signal.set_wakeup_fd(-1)
        reader.close()
        writer.close()


def main(home: Path, airflow: Path, patience: float, api_port: int | None) -> int:
    """Run until told to end. 0: ended as asked; 1: a component cannot run."""
    with contextlib.suppress(PermissionError):
        os.setsid()  # refused when already leading a session, which is as good
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor = Supervisor(home, airflow, patience)
    with _wakeups(supervisor) as next_signal:
        supervisor.start(api_port)
        return supervisor.watch(next_signal)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("airflow", type=Path, nargs="?", default=Path(sys.executable).with_name("airflow"))
    parser.add_argument("patience", type=float, nargs="?", default=PATIENCE_SECONDS)
    parser.add_argument("--api-first", type=int, metavar="PORT")
    given = parser.parse_args()
    sys.exit(main(given.home, given.airflow, given.patience, given.api_first))
