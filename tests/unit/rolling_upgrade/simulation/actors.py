"""Tasks that take turns at single changes of the world, and can be killed between any two of them.

Each attempt of a task is a greenlet that runs the real code. It hands over before and after whatever it asks or
changes, so that a simulation decides, change by change, who goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import greenlet  # type: ignore[import-untyped]


class KilledError(BaseException):
    """The process of a task is gone. Not an Exception: no code of a task may take it for a failure."""


class Actor(greenlet.greenlet):
    """One attempt of one task."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        super().__init__(work)
        self.label = name
        self.wakes_at = 0.0
        """Simulated seconds; it sleeps before."""
        self.waits_for_states = False
        """It waits for the end of some task, instead of a time."""
        self.gone = False
        self.cancelled = False
        self.in_thread = False
        """A trigger's question runs on a thread of its own; cancelling the trigger does not end that thread."""
        self.looked: dict[str, int] = {}
        """When it last had an answer from a thing, in steps of the world."""
        self.looked_before: dict[str, int] = {}
        """And the time before that."""
        self.node = ""
        self.task_id = ""
        self.run_id = ""
        self.map_index = -1

    def kill(self) -> None:
        """End it where it stands; nothing that it would still do reaches the world."""
        self.gone = True
        if self and not self.dead:
            self.throw(KilledError)

    def cancel(self) -> None:
        """End it, except for a question or change that is under way on a thread."""
        self.cancelled = True
        if not self.in_thread:
            self.kill()


def current() -> Actor | None:
    """The actor that is at work now, or None: then it is the world itself, or a person."""
    here = greenlet.getcurrent()
    return here if isinstance(here, Actor) else None


def hand_over() -> None:
    """Let somebody else go on. Raises KilledError when the actor was killed meanwhile."""
    actor = current()
    if actor is None:
        return
    if not actor.gone and actor.parent is not None:
        actor.parent.switch()
    if actor.gone:
        raise KilledError


def sleep_until(moment: float) -> None:
    """Hand over until that simulated time."""
    actor = current()
    if actor is not None:
        actor.wakes_at = moment
    hand_over()
