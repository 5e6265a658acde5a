"""What a command tells while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BEGIN = time.monotonic()


def say(text: str) -> None:
    """One line on stderr, after the seconds since the command began. Output for programs goes to stdout."""
    print(f"{time.monotonic() - _BEGIN:6.1f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say when the step is done and what it took."""
    begin = time.monotonic()
    yield
    say(f"{text} ({time.monotonic() - begin:.1f} s)")
