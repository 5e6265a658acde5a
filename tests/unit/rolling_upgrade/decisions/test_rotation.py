"""What the balancers say, and whether a node may leave."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.rotation import (
    Rotation,
    ServerView,
    is_in,
    is_out,
    unknown_to,
    why_not_take_out,
)

BALANCERS = ("lb1", "lb2")


def view(server: str, balancer: str = "lb1", status: str = "UP", sessions: int = 0, queued: int = 0) -> ServerView:
    return ServerView(balancer, server, status, sessions, queued)


def fleet(**statuses: str) -> list[ServerView]:
    """The same status on both balancers for each server."""
    return [view(server, balancer, status) for balancer in BALANCERS for server, status in statuses.items()]


@pytest.mark.parametrize(
    ("status", "rotation"),
    [
        ("UP", Rotation.IN),
        ("UP 1/3", Rotation.IN),
        ("DRAIN", Rotation.DRAINING),
        ("DRAIN 1/2", Rotation.DRAINING),
        ("DRAIN (agent)", Rotation.DRAINING),
        ("MAINT", Rotation.MAINTENANCE),
        ("MAINT (via lb/x)", Rotation.MAINTENANCE),
        ("MAINT (resolution)", Rotation.MAINTENANCE),
        ("DOWN", Rotation.DOWN),
        ("DOWN 1/2", Rotation.DOWN),
        ("NOLB", Rotation.DOWN),
        ("no check", Rotation.UNCHECKED),
        ("", Rotation.DOWN),
    ],
)
def test_haproxys_words_are_read_by_their_beginning(status: str, rotation: Rotation) -> None:
    assert view("node1", status=status).rotation is rotation


@pytest.mark.parametrize(
    ("check", "passed"),
    [("L7OK", True), ("* L7OK", True), ("L4OK", True), ("L7STS", False), ("L4CON", False), ("", False), ("INI", False)],
)
def test_only_a_check_that_ended_well_has_passed(check: str, passed: bool) -> None:
    assert ServerView("lb1", "node1", "DRAIN", 0, 0, check=check).check_passed is passed


def test_a_node_may_leave_when_all_others_are_up() -> None:
    assert why_not_take_out("node1", BALANCERS, fleet(node1="UP", node2="UP", node3="UP"), None) == []


@pytest.mark.parametrize("status", ["DRAIN", "MAINT", "DOWN"])
def test_a_node_stays_while_another_is_not_up(status: str) -> None:
    reasons = why_not_take_out("node1", BALANCERS, fleet(node1="UP", node2=status, node3="UP"), None)
    assert any("node2" in reason and status in reason for reason in reasons)


@pytest.mark.parametrize("status", ["DRAIN", "MAINT"])
def test_another_node_out_refuses_even_where_capacity_would_allow_it(status: str) -> None:
    views = fleet(node1="UP", node2=status, node3="UP", node4="UP")
    assert why_not_take_out("node1", BALANCERS, views, 1) != []


def test_one_balancer_with_too_few_is_enough_to_refuse() -> None:
    views = [
        *fleet(node1="UP", node2="UP"),
        view("node3", "lb1", "UP"),
        view("node3", "lb2", "DOWN"),
    ]
    reasons = why_not_take_out("node1", BALANCERS, views, None)
    assert len(reasons) == 1
    assert reasons[0].startswith("lb2 would keep 1 servers UP, at least 2")


def test_the_last_server_never_leaves() -> None:
    assert why_not_take_out("node1", BALANCERS, fleet(node1="UP"), None) != []
    assert why_not_take_out("node1", BALANCERS, fleet(node1="UP"), 1) != []


def test_a_down_server_is_tolerated_where_the_fleet_allows_it() -> None:
    assert why_not_take_out("node1", BALANCERS, fleet(node1="UP", node2="DOWN", node3="UP"), 1) == []


def test_a_server_unknown_to_a_balancer_is_named() -> None:
    views = [view("node1", "lb1"), view("node2", "lb1"), view("node2", "lb2")]
    assert unknown_to("node1", BALANCERS, views) == ["lb2"]
    assert "lb2 does not know node1" in why_not_take_out("node1", BALANCERS, views, None)


def test_out_means_out_on_every_balancer_that_there_is() -> None:
    half = [view("node1", "lb1", "DRAIN"), view("node1", "lb2", "UP")]
    assert not is_out("node1", BALANCERS, half)
    assert not is_out("node1", BALANCERS, half[:1]), "a balancer that says nothing is no proof"
    assert is_out("node1", BALANCERS, fleet(node1="MAINT"))


def test_down_is_not_out_until_a_drain_is_set() -> None:
    down = [view("node1", balancer, "DOWN") for balancer in BALANCERS]
    assert not is_out("node1", BALANCERS, down), "it would take requests as soon as its checks pass"
    drained = [replace(one, draining=True) for one in down]
    assert is_out("node1", BALANCERS, drained)
    assert {one.rotation for one in drained} == {Rotation.DRAINING}


def test_a_passed_check_of_a_server_that_is_down_is_an_old_one() -> None:
    assert not ServerView("lb1", "node1", "DOWN", 0, 0, check="L7OK", draining=True).check_passed


def test_in_means_up_on_every_balancer_that_there_is() -> None:
    assert is_in("node1", BALANCERS, fleet(node1="UP"))
    assert not is_in("node1", BALANCERS, [view("node1", "lb1")])
    assert not is_in("node1", BALANCERS, [view("node1", "lb1"), view("node1", "lb2", "DRAIN")])


STATUSES = st.sampled_from(["UP", "UP 1/2", "DRAIN", "MAINT", "DOWN", "DOWN 1/2", "NOLB"])


@given(
    statuses=st.lists(st.lists(STATUSES, min_size=2, max_size=2), min_size=1, max_size=50),
    least=st.none() | st.integers(1, 50),
)
def test_whatever_the_fleet_a_departure_leaves_enough_on_every_balancer(
    statuses: list[list[str]], least: int | None
) -> None:
    views = [view(f"node{i}", b, s) for i, row in enumerate(statuses) for b, s in zip(BALANCERS, row, strict=True)]
    if why_not_take_out("node0", BALANCERS, views, least):
        return
    for balancer in BALANCERS:
        others = [v for v in views if v.balancer == balancer and v.server != "node0"]
        up = [v for v in others if v.status.startswith("UP")]
        assert len(up) >= (least or max(1, len(others)))
        assert not any(v.status in ("DRAIN", "MAINT") for v in others)
