"""Which failures a drill puts down to its fault: exactly those that the fault itself cut."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from include.lab.load.lines import Operation
from tests.drills.allowed import NOT_MADE, Cut, judge

AT_12 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
AT_12_00_02 = datetime(2026, 1, 1, 12, 0, 2, tzinfo=UTC)
BALANCER = Cut(AT_12, AT_12_00_02, balancer="lb1")
NODE = Cut(AT_12, AT_12_00_02, node="node2")
ERRORS = Cut(AT_12, AT_12_00_02, node="node2", answers_5xx=True)


def line(at: str, **other: Any) -> Operation:
    """A failed request that began at that time of the day and took one second."""
    known: dict[str, Any] = {
        "client": "quick1",
        "op": "upload",
        "balancer": "lb1",
        "server": "node2",
        "status": None,
        "ok": False,
        "seconds": 1.0,
        "bytes": 0,
        "error": "RemoteDisconnected",
        "image": "one",
    }
    return Operation(at=f"2026-01-01T{at}Z", **(known | other))


@pytest.mark.parametrize(
    ("cut", "failed"),
    [
        (BALANCER, line("11:59:59.500")),
        (BALANCER, line("12:00:01.900", server=None)),
        (NODE, line("11:59:30.000", seconds=60.0, balancer="lb2")),
        (ERRORS, line("12:00:01.000", status=500)),
    ],
)
def test_what_the_fault_cut_is_its_own(cut: Cut, failed: Operation) -> None:
    judged = judge([failed], [], [cut])
    assert (judged.allowed, judged.attributable) == ((failed,), ())


@pytest.mark.parametrize(
    ("cut", "failed"),
    [
        (BALANCER, line("12:00:02.000")),
        (BALANCER, line("11:59:59.000")),
        (BALANCER, line("12:00:01.000", balancer="lb2")),
        (NODE, line("12:00:01.000", server="node1")),
        (NODE, line("12:00:01.000", server=None)),
        (ERRORS, line("12:00:01.000", status=None)),
        (ERRORS, line("12:00:01.000", status=404)),
    ],
)
def test_everything_else_is_the_rollouts(cut: Cut, failed: Operation) -> None:
    judged = judge([failed], [], [cut])
    assert (judged.allowed, judged.attributable) == ((), (failed,))


def test_a_good_request_is_no_failure() -> None:
    judged = judge([line("12:00:01.000", ok=True)], [], [BALANCER])
    assert (judged.allowed, judged.attributable) == ((), ())


def test_an_image_is_explained_only_by_the_allowed_failure_of_its_own_request() -> None:
    allowed, other = line("12:00:01.000", image="one"), line("12:00:05.000", image="two")
    wrong = [{"image": name, "expected": "active", "found": "saving"} for name in ("one", "two", "three")]
    judged = judge([allowed, other], wrong, [BALANCER])
    assert [image["image"] for image in judged.images_attributable] == ["two", "three"]


def test_each_create_without_an_answer_explains_one_image() -> None:
    lost = line("12:00:01.000", op="create", image=None)
    wrong = [{"image": name, "expected": NOT_MADE, "found": "queued"} for name in ("one", "two")]
    judged = judge([lost], wrong, [BALANCER])
    assert [image["image"] for image in judged.images_attributable] == ["two"]
