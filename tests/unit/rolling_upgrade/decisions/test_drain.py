"""When is a node drained?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.drain import DrainAction, is_quiet, next_action
from rolling_upgrade.decisions.rotation import ServerView


def views(*states: tuple[str, int, int]) -> list[ServerView]:
    return [ServerView(f"lb{i}", "node1", status, scur, qcur) for i, (status, scur, qcur) in enumerate(states, 1)]


@pytest.mark.parametrize(
    ("states", "action"),
    [
        ([("DRAIN", 3, 0), ("DRAIN", 0, 0)], DrainAction.WAIT),
        ([("DRAIN", 0, 0), ("DRAIN", 0, 1)], DrainAction.WAIT),
        ([("DRAIN", 0, 0), ("DRAIN", 0, 0)], DrainAction.ENTER_MAINTENANCE),
        ([("MAINT", 0, 0), ("DRAIN", 0, 0)], DrainAction.ENTER_MAINTENANCE),
        ([("MAINT", 0, 0), ("MAINT", 0, 0)], DrainAction.COUNT_SOCKETS),
        ([("MAINT", 1, 0), ("MAINT", 0, 0)], DrainAction.WAIT),
        ([("UP", 0, 0), ("DRAIN", 0, 0)], DrainAction.DRAIN_AGAIN),
        ([("UP", 5, 0), ("MAINT", 0, 0)], DrainAction.DRAIN_AGAIN),
        ([("no check", 0, 0), ("DRAIN", 0, 0)], DrainAction.DRAIN_AGAIN),
        ([("DOWN", 0, 0), ("DRAIN", 0, 0)], DrainAction.DRAIN_AGAIN),
    ],
)
def test_the_next_action_of_a_drain(states: list[tuple[str, int, int]], action: DrainAction) -> None:
    assert next_action(views(*states)).action is action


def test_a_restarted_balancers_zeros_are_not_taken_for_drained() -> None:
    progress = next_action(views(("UP", 0, 0), ("DRAIN", 0, 0)))
    assert progress.action is DrainAction.DRAIN_AGAIN
    assert progress.lost_on == ("lb1",)


def test_open_requests_are_those_of_all_balancers() -> None:
    assert next_action(views(("DRAIN", 3, 1), ("DRAIN", 2, 0))).open_requests == 6


@given(
    st.lists(
        st.tuples(st.sampled_from(["UP", "DRAIN", "MAINT", "DOWN"]), st.integers(0, 9), st.integers(0, 9)), min_size=1
    )
)
def test_sockets_are_counted_only_when_nothing_is_open_and_all_are_in_maintenance(
    states: list[tuple[str, int, int]],
) -> None:
    if next_action(views(*states)).action is DrainAction.COUNT_SOCKETS:
        assert all(status == "MAINT" and scur == qcur == 0 for status, scur, qcur in states)


@pytest.mark.parametrize(
    ("counts", "quiet"),
    [
        ([], False),
        ([0], False),
        ([0, 0], True),
        ([3, 0], False),
        ([0, 1, 0], False),
        ([5, 0, 0], True),
        ([0, 0, 1], False),
    ],
)
def test_quiet_means_no_connection_twice_in_a_row(counts: list[int], quiet: bool) -> None:
    assert is_quiet(counts) is quiet
