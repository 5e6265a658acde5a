"""May the next node begin?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.turns import unfinished_before

LAST = "remaining_nodes.soak"


def states(*values: str | None) -> dict[str, str | None]:
    return {f"{LAST}_{i}": value for i, value in enumerate(values)}


def test_the_first_may_always_begin() -> None:
    assert unfinished_before(0, {}, LAST) == []


def test_a_step_that_is_missing_from_the_answer_is_not_finished() -> None:
    assert unfinished_before(2, states("success"), LAST) == [1]
    assert unfinished_before(1, {LAST: "success"}, LAST) == [0]


def test_a_failed_cleared_or_running_node_holds_those_behind_it() -> None:
    for state in ("failed", "upstream_failed", "running", "deferred", "queued", "scheduled", "up_for_retry", None):
        assert unfinished_before(2, states("success", state), LAST) == [1]


def test_only_nodes_that_have_finished_let_the_next_begin() -> None:
    assert unfinished_before(2, states("success", "success"), LAST) == []
    assert unfinished_before(2, states("success", "skipped"), LAST) == [1]


@given(st.lists(st.sampled_from(["success", "failed", "running", None]), max_size=60), st.integers(0, 60))
def test_nobody_begins_before_all_before_have_finished(values: list[str | None], index: int) -> None:
    if not unfinished_before(index, states(*values), LAST):
        assert all(value == "success" for value in values[:index])
        assert len(values) >= index
