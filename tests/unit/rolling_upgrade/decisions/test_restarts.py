"""A unit that systemd restarts again and again is not well."""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.restarts import crash_loops, why_not_steady


@pytest.mark.parametrize(
    ("state", "restarts", "loops"),
    [
        ("active", 0, False),
        ("activating", 2, False),
        ("active", 3, True),
        ("failed", 0, True),
        ("activating", 12, True),
    ],
)
def test_a_crash_loop_is_told_from_a_stumble(state: str, restarts: int, loops: bool) -> None:
    assert crash_loops(state, restarts) is loops


def test_a_unit_that_stumbled_must_be_seen_standing_twice() -> None:
    assert why_not_steady(None, 0) is None
    assert why_not_steady(None, 1) == "systemd restarted it 1 times, the last time just now"
    assert why_not_steady(1, 2) is not None
    assert why_not_steady(2, 2) is None
