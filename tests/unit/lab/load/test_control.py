"""Starting and stopping a real generator on a small service."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from include.lab.errors import LabError
from include.lab.load import control
from include.lab.load.files import read_json
from include.lab.load.lines import read_operations
from include.lab.load.plan import LoadPlan
from include.lab.load.result import result_so_far
from tests.unit.lab.load.images_service import Service


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.lab.load.audit.PATIENCE", 0.2)
    monkeypatch.setattr("include.lab.load.audit.SETTLE", 0.2)


def never() -> None:
    pytest.fail("the generator had to be killed")


def until(condition: Callable[[], bool], within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def plan(service: Service, tmp_path: Path) -> Iterator[LoadPlan]:
    plan = LoadPlan(
        run="0a1b2c3d",
        directory=tmp_path / "load",
        entrances=(service.entrance, replace(service.entrance, name="lb2")),
        clients=2,
        slow=2,
        interval=0.02,
        quick_sizes=(10, 100_000),
        slow_size=300_000,
        slow_seconds=(30, 30),
        request_timeout=5,
    )
    yield plan
    if pid := control.running_pid(plan.files):
        os.kill(pid, signal.SIGKILL)


def kill(plan: LoadPlan) -> None:
    pid = control.running_pid(plan.files)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: control.running_pid(plan.files) is None)


def test_a_plan_survives_its_file(plan: LoadPlan) -> None:
    assert LoadPlan.from_json(plan.to_json()) == plan


def test_start_run_stop(plan: LoadPlan, service: Service) -> None:
    assert control.start(plan, []) is True
    assert control.start(replace(plan, run="ffffffff"), []) is False
    until(lambda: len(read_operations(plan.files.operations)) > 50)
    result = control.stop(plan.files, never)
    assert result["ended_by_itself"] is True
    assert result["fault_of_the_load"] is None
    assert result["failures"] == []
    assert result["images_left_wrong"] == []
    audit = result["audit"]
    assert isinstance(audit, dict)
    assert audit["complete"]
    assert audit["images_checked"] > 3
    assert service.images == {}, "the audit removes what is right"
    # The two slow transfers were to take 30 s: they went on at full speed, to their end.
    operations = result["operations"]
    assert isinstance(operations, dict)
    assert operations["slow_upload"]["count"] == 1
    assert control.stop(plan.files, never) == result == read_json(plan.files.result)


def test_failures_and_what_they_leave_are_seen(plan: LoadPlan, service: Service) -> None:
    control.start(plan, [])
    service.fault = "unavailable"
    until(lambda: any(not line.ok for line in read_operations(plan.files.operations)))
    service.fault = ""
    until(lambda: any(line.op == "upload" for line in read_operations(plan.files.operations)))
    pid = control.running_pid(plan.files)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    until(lambda: control.running_pid(plan.files) is None)
    image = next(iter(service.images))
    service.images[image]["status"] = "saving"
    result = control.stop(plan.files, never)
    assert isinstance(result["failed_requests"], int)
    assert result["failed_requests"] > 0
    assert result["images_left_wrong"] == [{"image": image, "expected": "active", "found": "saving"}]
    assert list(service.images) == [image], "what is wrong stays as evidence"


def test_after_kill_the_result_comes_from_the_lines(plan: LoadPlan, service: Service) -> None:
    control.start(plan, [])
    until(lambda: len(read_operations(plan.files.operations)) > 30)
    kill(plan)
    assert result_so_far(plan)["ended_by_itself"] is False
    result = control.stop(plan.files, never)
    assert result["ended_by_itself"] is False
    assert isinstance(result["requests"], int)
    assert result["requests"] > 30
    assert result["images_left_wrong"] == []
    assert service.images == {}
    assert control.start(replace(plan, run="11111111"), []) is True
    assert control.stop(plan.files, never)["ended_by_itself"] is True


def test_an_audit_that_gets_no_answer_is_not_a_clean_one(plan: LoadPlan, service: Service) -> None:
    control.start(plan, [])
    kill(plan)
    service.fault = "unavailable"
    result = control.stop(plan.files, never)
    assert result["images_left_wrong"]
    service.fault = ""
    assert control.stop(plan.files, never)["images_left_wrong"] == []


def test_a_service_that_does_not_answer_is_not_put_under_load(plan: LoadPlan, service: Service) -> None:
    service.fault = "unavailable"
    with pytest.raises(LabError, match=r"lb1 .* does not serve Glance: status 503"):
        control.start(plan, [])
    assert control.current_plan(plan.files) is None


def test_a_generator_that_cannot_begin_is_reported(plan: LoadPlan) -> None:
    with pytest.raises(LabError, match="ended with 1"):
        control.start(plan, ["/bin/false"])


def test_nothing_to_stop_is_said(plan: LoadPlan) -> None:
    with pytest.raises(LabError, match="no load was started"):
        control.stop(plan.files, never)
