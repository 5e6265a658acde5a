from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from include.demo.progress import (
    FLEET_STEPS,
    IN,
    OUT,
    WAITS_FOR_SCHEMA,
    WAITS_FOR_TURN,
    NodeRow,
    ServerState,
    Snapshot,
    StepRow,
)
from include.demo.render import DOING, PlainLines, table

SERVERS = (ServerState("lb1", "node1", "DRAIN", 3), ServerState("lb2", "node1", "DRAIN", None))
ROW = NodeRow("node1", "drained", "running", 4.2, 6.0, SERVERS)
SHOT = Snapshot("running", 12.5, (StepRow("preflight", "running", 1, 3),), (ROW,), 1200, 0)


def test_a_log_gets_each_fact_once() -> None:
    lines = PlainLines()
    assert list(lines.lines(SHOT)) == [
        "  12.5 s  preflight: running (1 of 3)",
        "  12.5 s  node1: draining",
        "  12.5 s  node1: connections left: lb1 3, lb2 ?",
        "  12.5 s  run: running",
    ]
    assert list(lines.lines(replace(SHOT, seconds=13.0, requests=1300))) == []


def test_a_log_gets_what_has_changed() -> None:
    lines = PlainLines()
    list(lines.lines(SHOT))
    failed = replace(SHOT, seconds=20.0, failed_requests=2, nodes=(replace(ROW, state="failed"),))
    assert list(lines.lines(failed)) == [
        "  20.0 s  node1: drained failed",
        "  20.0 s  failed requests so far: 2 of 1200",
    ]


def test_a_log_is_not_told_of_the_moment_between_two_steps() -> None:
    lines = PlainLines()
    list(lines.lines(SHOT))
    assert list(lines.lines(replace(SHOT, nodes=(replace(ROW, state="done"),)))) == []
    assert list(lines.lines(replace(SHOT, nodes=(replace(ROW, step="", state="done"),)))) == ["  12.5 s  node1: done"]


def test_a_terminal_sees_nodes_balancers_and_counts() -> None:
    text = _printed(SHOT)
    for wanted in ("node1", "draining", "DRAIN", "6 s", "preflight 1/3", "requests 1,200", "failed 0"):
        assert wanted in text


def test_what_is_unknown_is_not_shown_as_nothing() -> None:
    assert "failed ?" in _printed(replace(SHOT, requests=None, failed_requests=None))


def test_each_step_of_a_node_is_told_as_what_goes_on() -> None:
    assert set(DOING) == {*OUT, *IN}
    for step, words in DOING.items():
        doing = replace(SHOT, nodes=(replace(ROW, step=step),))
        assert f"  12.5 s  node1: {words}" in list(PlainLines().lines(doing))
        assert f"▶ {words} " in _printed(doing)


def test_a_step_that_failed_has_the_name_that_airflow_shows() -> None:
    failed = replace(SHOT, nodes=(replace(ROW, step="return_to_rotation", state="failed"),))
    assert "  12.5 s  node1: return_to_rotation failed" in list(PlainLines().lines(failed))
    assert "✘ return_to_rotation " in _printed(failed)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_nothing_is_cut_at_the_width_of_a_terminal(width: int) -> None:
    """With all that can be long at once: names of 8 characters, hours, three digits of connections."""
    words = dict.fromkeys((*DOING, WAITS_FOR_SCHEMA), "running") | {WAITS_FOR_TURN: "waiting"}
    servers = (ServerState("lb1", "node1", "DOWN 1/2", 123), ServerState("balance2", "node1", "UP", 456))
    nodes = tuple(
        NodeRow(f"node00{i:02}", step, state, 9999.0, 8888.0, servers) for i, (step, state) in enumerate(words.items())
    )
    steps = tuple(StepRow(name, "running", 1, 8) for name in FLEET_STEPS)
    text = _printed(Snapshot("running", 9999.0, steps, nodes, 1_234_567, 890), width, ("lb1", "balance2"))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in nodes:
        line = next(line for line in text.splitlines() if line.startswith(row.name))
        for wanted in (DOING.get(row.step, row.step), "DOWN 1/2 123", "UP       456", "8888 s"):
            assert wanted in line
    for wanted in ("lb1", "balance2", "out", *(f"{name} 1/8" for name in FLEET_STEPS), "1,234,567", "890"):
        assert wanted in text


def test_the_table_does_not_jump_from_step_to_step() -> None:
    heads = {
        next(line for line in _printed(replace(SHOT, nodes=(replace(ROW, step=step),))).splitlines() if "lb1  " in line)
        for step in DOING
    }
    assert len(heads) == 1


def _printed(shot: Snapshot, width: int = 80, balancers: tuple[str, ...] = ("lb1", "lb2")) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(table(shot, "title", balancers))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
