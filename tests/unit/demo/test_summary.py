from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from include.demo import summary

REPORT: dict[str, Any] = {
    "fleet": "lab",
    "run_id": "r",
    "from_release": "26.1.0",
    "to_release": "28.1.0",
    "duration_s": 120.5,
    "db_check": 0,
    "db_heads": ["2024_1_contract01"],
    "backup": {"path": "/x"},
    "nodes": [
        {"name": f"node{i}", "release_proven": "28.1.0", "out_of_rotation_s": 20.0, "drain_s": 9.0} for i in (1, 2)
    ],
}
LOAD: dict[str, Any] = {
    "run": "x",
    "requests": 900,
    "failed_requests": 0,
    "images_left_wrong": [],
    "images_unfinished": 0,
    "ended_by_itself": True,
    "fault_of_the_load": None,
    "audit": {"complete": True, "images_checked": 40, "bytes_read": 1},
}


def test_the_keys_are_those_promised() -> None:
    assert list(summary.build(REPORT, LOAD)) == [
        "requests",
        "failed_requests",
        "images_left_wrong",
        "from_release",
        "to_release",
        "db_check",
        "db_heads",
        "duration_s",
        "nodes",
    ]


def test_a_good_run_is_a_success() -> None:
    assert summary.why_not("success", summary.build(REPORT, LOAD), LOAD, "28.1.0", 2) == []


@pytest.mark.parametrize(
    ("report", "load", "state", "wanted"),
    [
        ({}, {}, "failed", "the run ended as failed"),
        ({}, {}, None, "the run ended as unknown"),
        ({}, {"failed_requests": 1}, "success", "failed requests: 1"),
        ({}, {"failed_requests": None}, "success", "failed requests: unknown"),
        ({}, {"images_left_wrong": [{"image": "x"}]}, "success", "images left wrong: 1"),
        ({}, {"images_left_wrong": None}, "success", "images left wrong: unknown"),
        ({}, {"requests": 0}, "success", "counted no request"),
        ({}, {"requests": None}, "success", "counted no request"),
        ({}, {"ended_by_itself": False}, "success", "did not end by itself"),
        ({}, {"ended_by_itself": None}, "success", "did not end by itself"),
        ({}, {"fault_of_the_load": "Traceback:\nKeyError: 'x'\n"}, "success", "the load itself broke: KeyError: 'x'"),
        ({}, {"audit": {"complete": False}}, "success", "did not come to its end"),
        ({}, {"audit": None}, "success", "did not come to its end"),
        ({}, {"images_unfinished": 2}, "success", "left unfinished: 2"),
        ({}, {"images_unfinished": None}, "success", "left unfinished: unknown"),
        ({"db_check": 5}, {}, "success", "db check gave 5"),
        ({"db_check": None}, {}, "success", "db check gave unknown"),
        ({"nodes": REPORT["nodes"][:1]}, {}, "success", "proven on 28.1.0: node1"),
        ({"nodes": [{"name": "node1", "release_proven": "26.1.0"}]}, {}, "success", "proven on 28.1.0: none"),
    ],
)
def test_what_is_wrong_or_unknown_is_told(
    report: dict[str, Any], load: dict[str, Any], state: str | None, wanted: str
) -> None:
    found = LOAD | load
    numbers = summary.build(REPORT | report, found)
    assert wanted in " | ".join(summary.why_not(state, numbers, found, "28.1.0", 2))


def test_a_killed_load_without_a_failed_request_is_no_success() -> None:
    """What `load stop --json` prints after a kill: it saw no failure, because it saw nothing."""
    killed = LOAD | {"ended_by_itself": False, "images_unfinished": 3}
    reasons = summary.why_not("success", summary.build(REPORT, killed), killed, "28.1.0", 2)
    assert len(reasons) == 2


def test_without_any_result_of_the_load_there_is_no_success() -> None:
    reasons = summary.why_not("success", summary.build(REPORT, None), None, "28.1.0", 2)
    assert "no result of the load" in reasons[0]


def test_nothing_at_all_still_makes_a_summary(tmp_path: Path) -> None:
    numbers = summary.build(None, None)
    reasons = summary.why_not(None, numbers, None, "28.1.0", 3)
    path = tmp_path / "demo" / "summary.json"
    summary.write(numbers, path)
    assert json.loads(path.read_text())["nodes"] == []
    console = Console(file=io.StringIO(), width=100)
    summary.show(numbers, reasons, path, console)
    assert isinstance(console.file, io.StringIO)
    assert "not a success" in console.file.getvalue()
