"""What lines add up to."""

from __future__ import annotations

from include.lab.load.summary import FAILURES_SHOWN, summarise
from tests.unit.lab.load.builders import line


def test_nothing_adds_up_to_nothing() -> None:
    assert summarise([]) == {
        "requests": 0,
        "failed_requests": 0,
        "seconds": 0.0,
        "requests_per_second": 0.0,
        "failures": [],
        "operations": {},
        "servers": {},
        "longest_transfer_seconds": 0.0,
    }


def test_counts_times_and_servers() -> None:
    found = summarise(
        [
            line("list", seconds=0.1),
            line("list", seconds=0.3, server="node2"),
            line("list", seconds=0.2, ok=False, server=None),
            line("slow_upload", "i1", seconds=30.0, at="2026-01-01T00:00:10.000Z"),
            line("upload", "i2", seconds=50.0),
        ]
    )
    assert found["requests"] == 5
    assert found["failed_requests"] == 1
    assert found["seconds"] == 50.0
    assert found["requests_per_second"] == 0.1
    assert found["servers"] == {"node1": 3, "node2": 1}
    assert found["longest_transfer_seconds"] == 30.0
    operations = found["operations"]
    assert isinstance(operations, dict)
    assert operations["list"] == {"count": 3, "failed": 1, "median_seconds": 0.2, "max_seconds": 0.3}


def test_the_first_failures_are_shown_in_order_of_time() -> None:
    lines = [line("list", ok=False, at=f"2026-01-01T00:00:{second:02}.000Z") for second in range(59, -1, -1)]
    failures = summarise(lines)["failures"]
    assert isinstance(failures, list)
    assert len(failures) == FAILURES_SHOWN
    assert failures[0]["at"] == "2026-01-01T00:00:00.000Z"
