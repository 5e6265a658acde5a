"""The status joins what nodes and balancers say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.lab import show
from include.lab.balancers import ServerState
from include.lab.status import NodeStatus, Status, with_rotation

NODE = NodeStatus("node1", "198.18.26.11", True, "active (running)", ["26.1.0"], "28.1.0", {}, {})


def test_a_node_shows_what_each_balancer_says_of_it() -> None:
    seen: dict[str, list[ServerState] | None] = {
        "lb1": [ServerState("node1", "DRAIN", "L7OK", 4), ServerState("node2", "UP", "L7OK", 9)],
        "lb2": [ServerState("node1", "UP", "L7OK", 0)],
    }
    found = with_rotation(NODE, seen)
    assert found.rotation == {"lb1": "DRAIN", "lb2": "UP"}
    assert found.sessions == {"lb1": 4, "lb2": 0}


def test_a_balancer_that_does_not_answer_says_nothing() -> None:
    found = with_rotation(NODE, {"lb1": None, "lb2": []})
    assert found.rotation == {}
    assert found.sessions == {}


@pytest.mark.parametrize(("count", "shown"), [(0, "UP, 0 sessions"), (1, "UP, 1 session"), (2, "UP, 2 sessions")])
def test_sessions_are_counted_as_people_do(capsys: pytest.CaptureFixture[str], count: int, shown: str) -> None:
    node = replace(NODE, rotation={"lb1": "UP"}, sessions={"lb1": count})
    show.table(Status(True, [node], {"lb1": True}, True, [], []))
    assert f"{shown} " in capsys.readouterr().out
