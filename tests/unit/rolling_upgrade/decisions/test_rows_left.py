"""Progress of a data migration in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.rows_left import Count, describe


def test_rate_and_time_to_go_come_from_what_was_counted() -> None:
    assert describe([Count(0, 1000), Count(10, 600)]) == "600 rows left, 40 rows/s, about 15 s to go"


def test_only_the_newest_counts_make_the_rate() -> None:
    slow = [Count(second, 10_000 - second) for second in range(100)]
    fast = [Count(100 + second, 9_900 - 100 * second) for second in range(20)]
    assert "100 rows/s" in describe([*slow, *fast])


def test_without_a_direction_there_is_no_rate() -> None:
    assert describe([]) == "nothing counted yet"
    assert describe([Count(0, 7)]) == "7 rows left"
    assert describe([Count(0, 7), Count(5, 7)]) == "7 rows left"
    assert describe([Count(0, 7), Count(5, 9)]) == "9 rows left"


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_no_count_breaks_it(rows: list[int]) -> None:
    assert describe([Count(float(at), left) for at, left in enumerate(rows)]).startswith(f"{rows[-1]} rows left")
