"""What a command of the lab says when it cannot go on."""

from __future__ import annotations

CANNOT_RUN = 3
"""Exit status: this machine cannot run the lab."""
BUSY = 4
"""Exit status: another command of the lab is at work."""


class LabError(Exception):
    """Carries what was found, what was expected, what is safe now and what to do next."""

    def __init__(
        self, found: str, *, expected: str = "", safe: str = "", next_step: str = "", exit_code: int = 1
    ) -> None:
        self.found = found
        self.expected = expected
        self.safe = safe
        self.next_step = next_step
        self.exit_code = exit_code
        super().__init__(self.text())

    def text(self) -> str:
        """The whole message, one fact a line."""
        lines = [self.found]
        for label, value in (("expected", self.expected), ("safe", self.safe), ("next", self.next_step)):
            if value:
                lines.append(f"  {label}: {value}")
        return "\n".join(lines)
