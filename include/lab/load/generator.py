"""The process that makes the load: ``python -m include.lab.load.generator PLAN``, started by ``load start``.

SIGTERM asks it to finish: no new work begins, transfers go on at full speed, nothing is cut.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from enum import StrEnum
from pathlib import Path
from typing import IO

from include.lab.load.clients import QuickClient, SlowClient
from include.lab.load.files import write_json
from include.lab.load.image_requests import Requests
from include.lab.load.lines import Recorder, utc_now
from include.lab.load.plan import LoadFiles, LoadPlan
from include.lab.load.progress import Progress
from include.lab.load.sessions import name_servers

TICK = 1.0
"""Seconds between two writes of the counters."""
EXIT_ALREADY_RUNNING = 3


class State(StrEnum):
    """What the counters say of the generator. A killed one leaves RUNNING or FINISHING and no held lock."""

    RUNNING = "running"
    FINISHING = "finishing"
    ENDED = "ended"
    BROKEN = "broken"


class Generator:
    """All clients of one run, and the counters about them."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._stop = threading.Event()
        self._progress = Progress()
        self._recorder = Recorder(plan.files.operations, plan.files.begun, self._progress.seen)
        self._started_at = utc_now()
        self._detail: str | None = None

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> bool:
        """Work until asked to stop. False where a client broke by a fault of the load itself."""
        work = self._work()
        with ThreadPoolExecutor(max_workers=len(work)) as pool:
            futures = [pool.submit(one) for one in work]
            while not all(future.done() for future in futures):
                self._write_counters(State.FINISHING if self._stop.is_set() else State.RUNNING)
                wait(futures, timeout=TICK, return_when=FIRST_EXCEPTION)
                self._note_faults(futures)
        self._recorder.close()
        self._write_counters(State.BROKEN if self._detail else State.ENDED)
        return self._detail is None

    def _work(self) -> list[Callable[[], None]]:
        quick = [
            QuickClient(number, self._plan, self._requests(f"quick{number + 1}"), self._stop).run
            for number in range(self._plan.clients)
        ]
        slow = [
            SlowClient(number, self._plan, self._requests(f"slow{number + 1}"), self._stop).run
            for number in range(self._plan.slow)
        ]
        return quick + slow

    def _requests(self, client: str) -> Requests:
        return Requests(client, self._plan.run, self._recorder, self._progress, hurry=self._stop)

    def _note_faults(self, futures: list[Future[None]]) -> None:
        for future in futures:
            error = future.exception() if future.done() else None
            if error is not None and self._detail is None:
                self._detail = "".join(traceback.format_exception(error))
                print(self._detail, file=sys.stderr, flush=True)
                self._stop.set()

    def _write_counters(self, state: State) -> None:
        name_servers(self._progress.running())
        processor = os.times()
        write_json(
            self._plan.files.counters,
            self._progress.counters()
            | {
                "run": self._plan.run,
                "state": state.value,
                "pid": os.getpid(),
                "started_at": self._started_at,
                "cpu_seconds": round(processor.user + processor.system, 2),
                "detail": self._detail,
            },
        )


def hold_lock(files: LoadFiles) -> IO[str] | None:
    """Take the lock for the life of the returned file, with our pid in it; None where another holds it."""
    lock = files.lock.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def main(plan_file: Path) -> int:
    plan = LoadPlan.from_json(plan_file.read_text(encoding="utf-8"))
    lock = hold_lock(plan.files)
    if lock is None:
        print("another generator is running", file=sys.stderr)
        return EXIT_ALREADY_RUNNING
    with lock:
        generator = Generator(plan)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: generator.stop())
        return 0 if generator.run() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
