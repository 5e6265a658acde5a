from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from include.lab import settings
from include.lab.errors import LabError
from include.lab.faults import control, record
from include.lab.faults.fault import Injection
from include.lab.settings import LabSettings

FROZEN = Injection("node-freeze", node="node1")
CUT = Injection("ssh-cut", node="node1")


@pytest.fixture
def lab(tmp_path: Path) -> LabSettings:
    return replace(settings.from_environment({}), state=tmp_path / "state", cache=tmp_path / "cache")


def test_what_is_noted_is_known_until_it_is_forgotten(lab: LabSettings) -> None:
    assert record.read(lab) == []
    record.add(lab, FROZEN)
    record.add(lab, CUT)
    record.add(lab, replace(FROZEN, done=True))
    assert record.read(lab) == [CUT, replace(FROZEN, done=True)]
    record.remove(lab, FROZEN)
    record.remove(lab, FROZEN)
    assert record.read(lab) == [CUT]
    record.remove(lab, CUT)
    assert not (lab.state / "faults.json").exists()


@pytest.mark.parametrize("text", ["", "{", '[{"fault": "x", "nod": "y"}]'])
def test_a_record_that_cannot_be_read_is_never_taken_for_none(lab: LabSettings, text: str) -> None:
    lab.state.mkdir()
    (lab.state / "faults.json").write_text(text)
    with pytest.raises(LabError, match="cannot be read"):
        record.read(lab)


def test_a_repair_is_refused_while_a_fault_is_injected(lab: LabSettings) -> None:
    control.refuse_while_injected(lab)
    record.add(lab, CUT)
    with pytest.raises(LabError, match="ssh-cut on node1"):
        control.refuse_while_injected(lab)


def test_nothing_is_injected_into_a_lab_that_is_not_up(lab: LabSettings) -> None:
    with pytest.raises(LabError, match="the lab is not up"):
        control.inject(lab, FROZEN)
    assert record.read(lab) == []
