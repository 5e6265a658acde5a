"""Which release does a node really run?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rolling_upgrade.decisions.proof import (
    NodeView,
    Process,
    proven_release,
    unknown_servers,
    unknown_sessions,
    why_not_proven,
    why_not_stopped,
    why_old_may_remain,
)
from rolling_upgrade.decisions.rotation import ServerView


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


def test_before_contract_each_process_has_begun_after_the_switch_and_the_next_start_brings_the_release() -> None:
    good = replace(node(replace(process(1, "28.1.0"), started=1000.5)), switched=1000.0)
    assert why_old_may_remain(good, "28.1.0") == []
    assert why_old_may_remain(replace(good, current="26.1.0"), "28.1.0") == [
        "current names 26.1.0, so the next start would bring that"
    ]
    (reason,) = why_old_may_remain(replace(good, switched=1012.5), "28.1.0")
    assert reason == "pid 1 (glance-api), release 28.1.0 began 12.0 s before the switch to 28.1.0"
    assert why_old_may_remain(replace(good, processes=(process(1, "26.1.0"),)), "28.1.0") != []


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
    data: dict[str, Any] = {
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
    data |= {"switched": 1000.25, "processes": [{**data["processes"][0], "started": 999.5}]}
    view = NodeView.from_dict(data)
    assert (view.switched, view.processes[0].started) == (1000.25, 999.5)
    assert (view.restarts, view.current, view.established) == (2, None, 1)


def test_unknown_servers_and_sessions_are_named() -> None:
    known = {"node1": "10.0.0.1", "node2": "2001:db8::2"}

    def server(balancer: str, name: str, address: str) -> ServerView:
        return ServerView(balancer, name, "UP", 0, 0, address=address)

    here = [server("lb1", "node1", "10.0.0.1:9292"), server("lb2", "node2", "[2001:db8:0::2]:9292")]
    assert unknown_servers(here, known, 9292) == []
    away = [
        server("lb1", "old9", "10.0.0.1:9292"),
        server("lb1", "node1", "10.0.0.9:9292"),
        server("lb2", "node1", "10.0.0.1:9393"),
        server("lb2", "node2", ""),
    ]
    assert unknown_servers(away, known, 9292) == [
        "lb1 has a server old9 that is no node of the fleet",
        "lb1 has its server node1 at 10.0.0.9:9292, and the node is at 10.0.0.1:9292",
        "lb2 has its server node1 at 10.0.0.1:9393, and the node is at 10.0.0.1:9292",
        "lb2 has its server node2 at an address that it does not tell, and the node is at 2001:db8::2:9292",
    ]
    assert unknown_sessions(["10.0.0.1", "10.0.0.9", "10.0.0.9"], ["10.0.0.1"]) == [
        "a database session of the service's user comes from 10.0.0.9, which is no node of the fleet"
    ]
