"""One command at a time may change the lab."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from include.lab.errors import BUSY, LabError
from include.lab.settings import LOCK_FILE


@contextmanager
def exclusive(command: str) -> Iterator[None]:
    """Hold the lab's lock. Raises LabError at once when another command holds it.

    The kernel lets go of it when the process ends, however it ends.
    """
    LOCK_FILE.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
            raise LabError(
                f"another command of the lab is at work: {holder}.",
                expected="one at a time, as there is one lab on a machine.",
                safe="this command changed nothing.",
                next_step="wait until it has ended, then try again.",
                exit_code=BUSY,
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"`lab {command}`, process {os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
