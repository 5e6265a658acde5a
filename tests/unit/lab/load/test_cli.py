"""What ``./lab load`` says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from include.lab.errors import LabError
from include.lab.load.cli import app
from include.lab.load.files import write_json
from include.lab.load.plan import LoadPlan
from tests.unit.lab.load.builders import line


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadPlan:
    """Lines of a load that was killed: one request went well, one failed."""
    monkeypatch.setenv("GLANCE_LAB_STATE", str(tmp_path))
    plan = LoadPlan(run="0a1b2c3d", directory=tmp_path / "load", entrances=())
    plan.directory.mkdir()
    lines = [line("list"), line("download", "i1", ok=False, status=503, server=None, error="status 503")]
    plan.files.operations.write_text("".join(json.dumps(asdict(one)) + "\n" for one in lines))
    plan.files.plan.write_text(plan.to_json())
    write_json(plan.files.counters, {"run": plan.run, "state": "running", "requests": 2})
    return plan


def test_no_client_at_all_is_refused() -> None:
    refused = CliRunner().invoke(app, ["start", "--clients", "0", "--slow", "0"])
    assert refused.exit_code == 2
    assert "at least one client" in refused.output


def test_a_result_without_a_load_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLANCE_LAB_STATE", str(tmp_path))
    refused = CliRunner().invoke(app, ["result"])
    assert isinstance(refused.exception, LabError)
    assert "./lab load start" in str(refused.exception)


def test_a_killed_load_has_a_result_that_says_so(load: LoadPlan) -> None:
    said = CliRunner().invoke(app, ["result"])
    assert "2 requests" in said.output
    assert "1 failed" in said.output
    assert "did not end by itself" in said.output
    assert "status 503" in said.output


def test_the_result_as_json(load: LoadPlan) -> None:
    found = json.loads(CliRunner().invoke(app, ["result", "--json"]).output)
    assert (found["requests"], found["failed_requests"], found["ended_by_itself"]) == (2, 1, False)
    assert found["running"] is False
    assert found["failures"][0]["image"] == "i1"


def test_the_status_tells_a_killed_load_from_a_running_one(load: LoadPlan) -> None:
    found = json.loads(CliRunner().invoke(app, ["status", "--json"]).output)
    assert found["running"] is False
    assert found["counters"]["requests"] == 2
