"""Errors that a node made since its return."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.rotation import Errors, ServerView
from rolling_upgrade.decisions.soak import counts, errors_since, too_many

numbers = st.integers(0, 10_000)
errors = st.builds(Errors, numbers, numbers, numbers)


def view(balancer: str, seen: Errors) -> ServerView:
    return ServerView(balancer, "node1", "UP", 0, 0, "L7OK", errors=seen)


@given(errors, errors)
def test_only_what_came_since_counts(before: Errors, more: Errors) -> None:
    now = Errors(*(a + b for a, b in zip(vars(before).values(), vars(more).values(), strict=True)))
    assert errors_since(before, now) == more


@given(errors)
def test_a_balancer_that_was_restarted_counts_from_nothing(now: Errors) -> None:
    before = Errors(now.connections + 1, 0, 0)
    assert errors_since(before, now) == now


@given(errors, st.integers(0, 30_000))
def test_the_limit_holds_for_each_balancer_by_itself(seen: Errors, limit: int) -> None:
    before = counts([view("lb1", Errors()), view("lb2", Errors())])
    reasons = too_many(before, [view("lb1", seen), view("lb2", Errors())], limit)
    assert bool(reasons) == (seen.total > limit)
    assert all(reason.startswith("lb1 counted ") for reason in reasons)


def test_a_message_says_what_was_counted() -> None:
    found = too_many(counts([view("lb1", Errors(1, 0, 0))]), [view("lb1", Errors(3, 1, 4))], 0)
    assert found == [
        "lb1 counted 4 answers of 5xx, 2 failed connections, 1 broken answers since its return, at most 0 may be"
    ]


def test_without_a_count_from_before_nothing_is_said() -> None:
    assert too_many(None, [view("lb1", Errors(9, 9, 9))], 0) == []
    assert too_many(counts([view("lb2", Errors())]), [view("lb1", Errors(9, 9, 9))], 0) == []
