"""Errors that an operator reads at two in the morning.

Each says four things: what was found, what was expected, what is safe now, and what to do next.
"""

from __future__ import annotations


class RollingUpgradeError(Exception):
    """A step could not do its work. The message is complete: it can be shown as it is."""

    def __init__(self, found: str, *, expected: str, safe: str, next_step: str) -> None:
        self.found = found
        self.expected = expected
        self.safe = safe
        self.next_step = next_step
        self.settled = ""
        """What was done after the failure to leave things safe; set by whoever did it."""
        super().__init__(found, expected, safe, next_step)

    def __str__(self) -> str:
        said = f"Found: {self.found}\nExpected: {self.expected}\nSafe now: {self.safe}\nNext: {self.next_step}"
        return f"{said}\n{self.settled}" if self.settled else said


class RefusedError(RollingUpgradeError):
    """The request or a file is not acceptable. The step that found it has changed nothing."""

    def __init__(
        self, found: str, *, expected: str, next_step: str, safe: str = "this step has changed nothing."
    ) -> None:
        super().__init__(found, expected=expected, safe=safe, next_step=next_step)


class HeldError(RefusedError):
    """Another run holds the fleet. Nothing of it is this run's to change, nor to put back."""


class PrecheckError(RollingUpgradeError):
    """The world is not in the state in which this step may begin. The step changed nothing."""


class VerifyError(RollingUpgradeError):
    """The step did its work and the world does not show it."""


class UnreachableError(RollingUpgradeError):
    """A node, balancer or database could not be asked."""
