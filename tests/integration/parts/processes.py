"""Start a program of the system, wait for it with a bound, and end it by its own process group."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

POLL_SECONDS = 0.02
END_SECONDS = 10.0
# Daemons live in sbin, which an ordinary user's PATH often lacks.
SEARCH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def program(name: str, package: str) -> str:
    """Full path of a program. Fails the test, naming the Debian package, when it is not there."""
    found = shutil.which(name, path=SEARCH)
    if found is None:
        pytest.fail(f"{name} is not installed: `apt-get install {package}` brings it; no service of it is needed.")
    return found


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, *, seconds: float = 10.0) -> None:
    """Poll until the condition holds. Fails the test when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(POLL_SECONDS)


def listens(port: int, address: str = "127.0.0.1") -> bool:
    """True if something takes TCP connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


class Program:
    """One running program, in a session of its own, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                # The system ends it with the tests, even when those are killed and cannot.
                [program("setpriv", "util-linux"), "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def until(self, ready: Callable[[], bool], what: str, *, seconds: float = 15.0) -> None:
        """Wait until it is ready. Fails with its own words when it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                state = "is not ready in time" if status is None else f"ended with {status}"
                pytest.fail(f"{what} {state}; it said:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_SECONDS)

    def end(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it and all its descendants, and wait for that. Ending it twice is no error."""
        if self._process.poll() is None:
            self._process.send_signal(sign)
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_SECONDS)
        # What it forked is in its group, which nobody else can have joined.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


@contextmanager
def running(command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[Program]:
    """A program for as long as the block lasts."""
    started = Program(command, log, environment)
    try:
        yield started
    finally:
        started.end()
