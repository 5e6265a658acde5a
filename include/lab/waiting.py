"""Waiting for a condition, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable

from include.lab.errors import LabError


def until(condition: Callable[[], bool], what: str, *, seconds: float, every: float = 0.05) -> float:
    """Poll ``condition`` until it holds; returns the seconds it took.

    Raises LabError, naming ``what``, when it does not hold in time.
    """
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise LabError(
                f"waited {seconds:g} s in vain for {what}.",
                expected="it within that time.",
                safe="nothing outside the lab was touched.",
                next_step="look at `./lab status` and at the logs in the state directory; "
                "`./lab down` clears everything.",
            )
        time.sleep(every)
    return time.monotonic() - begin
