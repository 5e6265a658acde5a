"""Does a service that was started stay up, or does it crash again and again? Pure."""

from __future__ import annotations

CRASH_LOOP = 3
"""So many restarts by systemd since the start are a crash loop, and not a stumble."""


def crash_loops(active_state: str, restarts: int) -> bool:
    """Whether the unit has given up, or restarts in a loop. ``restarts`` is systemd's NRestarts since the start."""
    return active_state == "failed" or restarts >= CRASH_LOOP


def why_not_steady(before: int | None, restarts: int) -> str | None:
    """Why the unit may not be called well yet: it was restarted, and not known to have stood still since."""
    if restarts and restarts != before:
        return f"systemd restarted it {restarts} times, the last time just now"
    return None
