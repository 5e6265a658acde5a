"""Which run may change a fleet, for every holder and everything that can be known of it."""

from __future__ import annotations

import pytest

from rolling_upgrade.decisions.claims import (
    Decision,
    Holder,
    RunState,
    decide,
    is_asked,
    is_of_one_airflow,
    refusal,
)
from rolling_upgrade.errors import HeldError, RefusedError

HERE, ELSEWHERE, ANYWHERE = "https://airflow.example.org", "https://other.example.org", "http://localhost:8080"
ME = Holder(HERE, "glance_rolling_upgrade_lab", "run 2")
OTHER = Holder(HERE, "glance_rollback_lab", "run 1")
STATEMENT = "DELETE FROM it;"


@pytest.mark.parametrize("state", RunState)
def test_a_free_fleet_is_claimed(state: RunState) -> None:
    assert decide(None, ME, state) is Decision.CLAIM


@pytest.mark.parametrize("state", RunState)
def test_a_run_keeps_what_it_holds(state: RunState) -> None:
    assert decide(Holder(HERE, ME.dag_id, ME.run_id), ME, state) is Decision.MINE


@pytest.mark.parametrize(
    "holder",
    [OTHER, Holder(HERE, ME.dag_id, "run 1"), Holder(HERE, "another workflow", ME.run_id)],
    ids=["another workflow's", "another run", "the same run id in another workflow"],
)
@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (RunState.ALIVE, Decision.REFUSE),
        (RunState.OVER, Decision.TAKE_OVER),
        (RunState.MISSING, Decision.TAKE_OVER),
        (RunState.ELSEWHERE, Decision.REFUSE),
    ],
)
def test_a_run_of_this_airflow_holds_the_fleet_until_it_is_over(
    holder: Holder, state: RunState, decision: Decision
) -> None:
    assert is_asked(holder, ME)
    assert decide(holder, ME, state) is decision


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("run", [("glance_rollback_lab", "run 1"), (ME.dag_id, ME.run_id)])
def test_a_run_of_another_airflow_holds_the_fleet_whatever_is_said_of_it_here(
    run: tuple[str, str], state: RunState
) -> None:
    holder = Holder(ELSEWHERE, *run)

    assert not is_asked(holder, ME)
    assert decide(holder, ME, state) is Decision.REFUSE


@pytest.mark.parametrize("airflow", [ANYWHERE, ""])
@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (RunState.ALIVE, Decision.REFUSE),
        (RunState.OVER, Decision.TAKE_OVER),
        (RunState.MISSING, Decision.REFUSE),
    ],
)
def test_behind_an_address_that_many_have_a_run_that_is_not_found_may_be_anothers(
    airflow: str, state: RunState, decision: Decision
) -> None:
    assert decide(Holder(airflow, "d", "1"), Holder(airflow, "d", "2"), state) is decision


@pytest.mark.parametrize(
    ("url", "one"),
    [
        ("https://airflow.example.org", True),
        ("https://airflow.example.org:8443/team", True),
        ("http://192.0.2.7:8080", True),
        ("http://[2001:db8::7]:8080", True),
        ("http://localhost:8080", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://airflow-apiserver:8080", False),
        ("airflow.example.org", False),
        ("", False),
    ],
)
def test_an_address_is_of_one_airflow_or_may_be_of_many(url: str, one: bool) -> None:
    assert is_of_one_airflow(url) is one


def told(holder: Holder, me: Holder, state: RunState) -> HeldError:
    error = refusal("lab", holder, me, state, STATEMENT)
    assert isinstance(error, RefusedError)
    assert holder.dag_id in error.found
    assert holder.run_id in error.found
    assert error.safe == "this step has changed nothing."
    return error


def test_a_refused_run_is_told_who_holds_the_fleet_and_that_it_can_be_ended() -> None:
    error = told(OTHER, ME, RunState.ALIVE)

    assert error.found == (
        "fleet lab is held by run run 1 of glance_rollback_lab (https://airflow.example.org), which is queued or "
        "running."
    )
    assert "mark it failed in Airflow" in error.next_step
    assert STATEMENT not in error.next_step, "nobody is told to release what works"


@pytest.mark.parametrize("state", RunState)
def test_a_run_that_cannot_be_asked_is_released_by_hand(state: RunState) -> None:
    error = told(Holder(ELSEWHERE, "d", "1"), ME, state)

    assert "in another Airflow, which cannot be asked" in error.found
    assert error.next_step.startswith("look at that run in its own Airflow")
    assert "known to be over" in error.next_step
    assert error.next_step.endswith(STATEMENT)


def test_a_run_that_is_not_found_says_what_would_tell() -> None:
    error = told(Holder(ANYWHERE, "d", "1"), Holder(ANYWHERE, "d", "2"), RunState.MISSING)

    assert "not known to this Airflow" in error.found
    assert error.next_step.startswith("set api.base_url to an address that is this Airflow's alone")
    assert error.next_step.endswith(STATEMENT)


def test_workers_that_do_not_agree_on_the_address_are_told_so() -> None:
    error = told(Holder("", ME.dag_id, ME.run_id), ME, RunState.ELSEWHERE)

    assert "an Airflow without api.base_url" in error.found
    assert error.next_step.startswith("set api.base_url alike for every worker and the triggerer")
    assert error.next_step.endswith(STATEMENT)
