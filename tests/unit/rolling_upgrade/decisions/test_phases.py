"""The database phases."""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.phases import (
    MIGRATION_COMPLETE,
    Heads,
    Phase,
    SchemaState,
    UnitAction,
    UnitState,
    unit_action,
)

HEADS = Heads("2024_1_expand01", "2024_1_contract01")


@pytest.mark.parametrize(
    ("found", "expanded", "contracted"),
    [
        (["2023_1_contract01"], False, False),
        (["2023_1_contract01", "2024_1_expand01"], True, False),
        (["2024_1_contract01"], True, True),
        ([], False, False),
    ],
)
def test_revisions_tell_which_phase_has_run(found: list[str], expanded: bool, contracted: bool) -> None:
    assert HEADS.phase_is_done(Phase.EXPAND, found) is expanded
    assert HEADS.phase_is_done(Phase.CONTRACT, found) is contracted


def test_the_new_release_may_start_only_when_nothing_is_left_to_migrate() -> None:
    assert {state.value for state in MIGRATION_COMPLETE} == {0, 5}
    assert SchemaState(3) not in MIGRATION_COMPLETE
    assert SchemaState(4) not in MIGRATION_COMPLETE


ABSENT = UnitState("not-found", "inactive", "dead", "success", 0)
RUNNING = UnitState("loaded", "active", "running", "success", 0)
STARTING = UnitState("loaded", "activating", "start", "success", 0)
ENDED = UnitState("loaded", "active", "exited", "success", 0)
FAILED = UnitState("loaded", "failed", "failed", "exit-code", 1)


@pytest.mark.parametrize(
    ("unit", "done", "action"),
    [
        (ABSENT, False, UnitAction.START),
        (ABSENT, True, UnitAction.DONE),
        (RUNNING, False, UnitAction.ATTACH),
        (RUNNING, True, UnitAction.ATTACH),
        (STARTING, False, UnitAction.ATTACH),
        (ENDED, True, UnitAction.DONE),
        (ENDED, False, UnitAction.START_OVER),
        (FAILED, False, UnitAction.START_OVER),
        (FAILED, True, UnitAction.DONE),
    ],
)
def test_a_phase_never_runs_twice_at_a_time(unit: UnitState, done: bool, action: UnitAction) -> None:
    assert unit_action(unit, phase_done=done) is action


def test_how_a_unit_ended() -> None:
    assert ENDED.succeeded
    assert not ENDED.running
    assert FAILED.failed
    assert not RUNNING.failed
    assert not ABSENT.failed
    assert not ABSENT.succeeded


def test_a_unit_is_read_from_systemctl_show() -> None:
    shown = {"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}
    assert UnitState.from_show({**shown, "ExecMainStatus": "3"}).exit_status == 3
    assert UnitState.from_show({}).exists is False
