from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from include.demo.progress import NodeRow, ServerState, Snapshot, StepRow
from include.demo.render import PlainLines, table

SERVERS = (ServerState("lb1", "node1", "DRAIN", 3), ServerState("lb2", "node1", "DRAIN", None))
ROW = NodeRow("node1", "drained", "running", 4.2, 6.0, SERVERS)
SHOT = Snapshot("running", 12.5, (StepRow("preflight", "running", 1, 3),), (ROW,), 1200, 0)


def test_a_log_gets_each_fact_once() -> None:
    lines = PlainLines()
    assert list(lines.lines(SHOT)) == [
        "  12.5 s  preflight: running (1 of 3)",
        "  12.5 s  node1: drained",
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
    for wanted in ("node1", "drained", "DRAIN", "6 s", "preflight 1/3", "requests 1,200", "failed 0"):
        assert wanted in text


def test_what_is_unknown_is_not_shown_as_nothing() -> None:
    assert "failed ?" in _printed(replace(SHOT, requests=None, failed_requests=None))


def _printed(shot: Snapshot) -> str:
    console = Console(file=io.StringIO(), width=140, force_terminal=True, color_system=None)
    console.print(table(shot, "title", ("lb1", "lb2")))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
