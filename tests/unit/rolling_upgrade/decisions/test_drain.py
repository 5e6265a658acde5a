"""When is a node drained?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.drain import DrainAction, OpenSession, describe_sessions, is_quiet, next_action
from rolling_upgrade.decisions.rotation import ServerView
from rolling_upgrade.hooks.balancer import parse_session


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


def session(age: int) -> OpenSession:
    return OpenSession("lb1", "node1", f"192.0.2.7:{40_000 + age}", age)


def test_a_message_names_the_oldest_clients_and_counts_the_rest() -> None:
    said = describe_sessions([session(age) for age in range(14)])
    assert said.startswith("14 open: 192.0.2.7:40013 for 13 s through lb1; 192.0.2.7:40012 for 12 s through lb1")
    assert said.endswith("192.0.2.7:40004 for 4 s through lb1, and 4 younger ones")
    assert describe_sessions([session(5)]) == "1 open: 192.0.2.7:40005 for 5 s through lb1"


def test_what_a_balancer_does_not_list_is_said_too() -> None:
    assert describe_sessions([]) == "no open session is listed by a balancer"


@pytest.mark.parametrize(
    ("age", "seconds"), [("0s", 0), ("7s", 7), ("2m7s", 127), ("1h2m", 3720), ("1d2h", 93_600), ("3d", 259_200)]
)
def test_the_age_of_a_session_is_read_as_haproxy_writes_it(age: str, seconds: int) -> None:
    line = (
        "0x7f9010: proto=tcpv4 src=192.0.2.7:4711 fe=images be=glance_api srv=node1 ts=00 epoch=0 "
        f"age={age} calls=3 rate=0 cpu=0 lat=0 rq[f=84,i=0,an=00h,rx=,wx=,ax=] s0=[8,200008h,fd=9,ex=] exp=10m"
    )
    assert parse_session("lb1", line) == OpenSession("lb1", "node1", "192.0.2.7:4711", seconds)


def test_a_line_that_is_no_session_of_a_server_is_left_out() -> None:
    assert parse_session("lb1", "0x7f: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00") is None
