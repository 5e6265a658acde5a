"""Which try is begun, and which one tells of the deaths of those before it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rolling_upgrade.alerts import deaths
from rolling_upgrade.errors import PrecheckError


def begin(number: int, max_tries: int = deaths.DEATHS, retries: int = deaths.DEATHS) -> None:
    """One try of a task, with the numbers that Airflow gives to it."""
    task = SimpleNamespace(retries=retries)
    deaths.tell_of_deaths({"ti": SimpleNamespace(try_number=number, max_tries=max_tries, task=task)})


@pytest.mark.parametrize("number", range(1, deaths.DEATHS + 1))
def test_a_try_after_a_death_goes_on(number: int) -> None:
    begin(number)


def test_the_last_try_tells_instead() -> None:
    with pytest.raises(PrecheckError, match="the process that ran this task ended 3 times before the task did"):
        begin(deaths.DEATHS + 1)


def test_what_a_person_clears_has_all_its_tries_again() -> None:
    begin(5, max_tries=4 + deaths.DEATHS)
    with pytest.raises(PrecheckError):
        begin(8, max_tries=4 + deaths.DEATHS)


def test_a_wait_has_no_retries_and_nothing_to_tell() -> None:
    begin(1, max_tries=0, retries=0)
    begin(4, max_tries=0, retries=0)


def test_no_error_is_retried() -> None:
    decision = deaths.NoErrorIsRetried().evaluate(RuntimeError(), 1, deaths.DEATHS)
    assert decision.action.value == "fail"
