"""Which release does a node really run?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rolling_upgrade.decisions.proof import (
    NodeView,
    Process,
    proven_release,
    unknown_servers,
    unknown_sessions,
    why_not_proven,
    why_not_stopped,
)


def process(pid: int, *releases: str, listens: bool = True, in_unit: bool = True) -> Process:
    return Process(pid, "glance-api", releases, listens, in_unit)


def node(*processes: Process, active: str = "active", established: int = 0, current: str = "28.1.0") -> NodeView:
    return NodeView(active, "running", 0, current, ("26.1.0", "28.1.0"), established, processes)


def test_a_node_is_proven_by_all_its_processes() -> None:
    assert why_not_proven(node(process(1, "28.1.0"), process(2, "28.1.0")), "28.1.0") == []


@pytest.mark.parametrize(
    "stranger",
    [
        process(7, "26.1.0", in_unit=False),
        process(7, "26.1.0", listens=False),
        process(7, "26.1.0", listens=False, in_unit=False),
        process(7, "26.1.0", "28.1.0"),
        process(7, in_unit=False),
    ],
    ids=["orphan on the port", "in the unit", "anywhere on the node", "half old", "unknown on the port"],
)
def test_one_process_of_another_kind_is_enough_against_the_proof(stranger: Process) -> None:
    reasons = why_not_proven(node(process(1, "28.1.0"), stranger), "28.1.0")
    assert len(reasons) == 1
    assert "pid 7" in reasons[0]


def test_the_symlink_proves_nothing() -> None:
    assert why_not_proven(node(process(1, "26.1.0"), current="28.1.0"), "28.1.0") != []


def test_a_node_on_which_nothing_listens_is_not_proven() -> None:
    assert why_not_proven(node(), "28.1.0") == ["no process listens on the service's port"]


def test_the_proven_release_is_read_from_the_processes() -> None:
    assert proven_release(node(process(1, "26.1.0"), current="28.1.0")) == "26.1.0"
    assert proven_release(node(process(1, "26.1.0"), process(2, "28.1.0"))) is None
    assert proven_release(node()) is None


@pytest.mark.parametrize(
    ("view", "word"),
    [
        (node(process(3, "26.1.0"), active="inactive"), "pid 3"),
        (node(process(3, listens=True, in_unit=False), active="inactive"), "pid 3"),
        (node(active="deactivating"), "deactivating"),
        (node(active="inactive", established=2), "2 connections"),
    ],
)
def test_what_is_left_of_a_stopped_service_is_named(view: NodeView, word: str) -> None:
    assert any(word in reason for reason in why_not_stopped(view))


def test_a_stopped_service_leaves_nothing() -> None:
    assert why_not_stopped(node(active="inactive")) == []
    assert why_not_stopped(node(active="failed")) == []


def test_a_running_database_tool_of_the_release_does_not_count_as_the_service() -> None:
    tool = process(9, "28.1.0", listens=False, in_unit=False)
    assert why_not_stopped(replace(node(tool), active_state="inactive")) == []


def test_a_view_survives_its_way_as_json() -> None:
    data = {
        "active_state": "active",
        "sub_state": "running",
        "restarts": 2,
        "current": None,
        "complete_releases": ["26.1.0"],
        "established": 1,
        "processes": [{"pid": 1, "command": "x", "releases": ["26.1.0"], "listens": True, "in_unit": False}],
    }
    view = NodeView.from_dict(data)
    assert view.processes == (Process(1, "x", ("26.1.0",), True, False),)
    assert (view.restarts, view.current, view.established) == (2, None, 1)


def test_unknown_servers_and_sessions_are_named() -> None:
    assert unknown_servers({"lb1": ["node1", "old9"], "lb2": ["node1"]}, ["node1"]) == [
        "lb1 has a server old9 that is no node of the fleet"
    ]
    assert unknown_sessions(["10.0.0.1", "10.0.0.9", "10.0.0.9"], ["10.0.0.1"]) == [
        "a database session of the service's user comes from 10.0.0.9, which is no node of the fleet"
    ]
