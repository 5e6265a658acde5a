"""May the next node begin?"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.turns import unfinished_before

LAST, FIRST = "remaining_nodes.soak", "new_node_in.soak"


def waits_for(index: int, *values: str | None, new_node: str | None = "success") -> Sequence[str]:
    """What a node of the group waits for, when the last steps of the nodes before it are in these states."""
    states = {FIRST: new_node, **{f"{LAST}_{i}": value for i, value in enumerate(values)}}
    return unfinished_before(index, states, LAST, FIRST)


def test_the_first_of_the_group_waits_for_the_new_node_alone() -> None:
    assert waits_for(0) == []
    assert waits_for(0, new_node="running") == [FIRST]
    assert unfinished_before(0, {}, LAST, FIRST) == [FIRST]


def test_a_new_node_that_was_cleared_holds_every_other() -> None:
    assert waits_for(2, "success", "success", new_node=None) == [FIRST]


def test_a_step_that_is_missing_from_the_answer_is_not_finished() -> None:
    assert waits_for(2, "success") == [f"{LAST}_1"]
    assert unfinished_before(1, {FIRST: "success", LAST: "success"}, LAST, FIRST) == [f"{LAST}_0"]


def test_a_failed_cleared_or_running_node_holds_those_behind_it() -> None:
    for state in ("failed", "upstream_failed", "running", "deferred", "queued", "scheduled", "up_for_retry", None):
        assert waits_for(2, "success", state) == [f"{LAST}_1"]


def test_only_nodes_that_have_finished_let_the_next_begin() -> None:
    assert waits_for(2, "success", "success") == []
    assert waits_for(2, "success", "skipped") == [f"{LAST}_1"]


@given(st.lists(st.sampled_from(["success", "failed", "running", None]), max_size=60), st.integers(0, 60))
def test_nobody_begins_before_all_before_have_finished(values: list[str | None], index: int) -> None:
    if not waits_for(index, *values):
        assert all(value == "success" for value in values[:index])
        assert len(values) >= index
