"""Which processes are ours, told by what they carry and never by their names. Standard library only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def start_time(pid: int) -> str | None:
    """When the process began, in clock ticks since boot; None if it is gone or only waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def parent(pid: int) -> int | None:
    """The process that started it, or has taken it over; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[1])


def carrying(variable: str, value: str) -> list[int]:
    """Live processes with this variable in the environment they were started with, except this one."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's
        if wanted in environment.split(b"\0") and start_time(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found


def descendants(root: int) -> list[int]:
    """All processes below ``root``, deepest last."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal each process that still exists."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_until(condition: Callable[[], bool], seconds: float, poll: float = 0.05) -> bool:
    """Wait for the condition at most ``seconds``; whether it came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll)
    return True


def end_carrying(variable: str, value: str, patience: float = 10.0) -> int:
    """End what carries the variable: ask, insist after ``patience`` seconds. Returns how many there were."""
    found = carrying(variable, value)
    send(found, signal.SIGTERM)
    if not wait_until(lambda: not carrying(variable, value), patience):
        # Each round finds what the last one's victims had forked in between.
        wait_until(lambda: not _killed(variable, value), 5)
    return len(found)


def _killed(variable: str, value: str) -> list[int]:
    left = carrying(variable, value)
    send(left, signal.SIGKILL)
    return left
