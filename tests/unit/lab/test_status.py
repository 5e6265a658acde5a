"""The status joins what nodes and balancers say."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

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


def test_a_terminal_of_80_columns_shows_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(show, "Console", lambda width=None: screen)
    states, sessions = {"lb1": "DOWN 1/2", "lb2": "DRAIN"}, {"lb1": 1, "lb2": 12}
    nodes = [replace(NODE, rotation=states, sessions=sessions)]
    show.table(Status(True, nodes, dict.fromkeys(states, True), True, ["2024_1_contract01"], ["lb1", "lb2"]))
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    assert "…" not in text
    row = next(line for line in text.splitlines() if line.startswith("node1"))
    for wanted in ("198.18.26.11", "yes", "active", "26.1.0", "28.1.0", "DOWN 1/2 1", "DRAIN 12"):
        assert wanted in row
