"""Which run holds a fleet, in a real MariaDB: one at a time, however many ask at once."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rolling_upgrade.decisions.claims import Decision, Holder
from rolling_upgrade.errors import HeldError, PrecheckError, UnreachableError
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.claims import hold, other_holder, release
from tests.integration.parts.fleets import SCHEMA, write_fleet
from tests.integration.parts.mariadb import CLAIMS_GRANT, OPERATOR, Login, MariaDB
from tests.integration.parts.processes import free_port
from tests.integration.parts.site import SetConnection
from tests.integration.parts.tasks import runs

pytestmark = pytest.mark.integration

URL = "https://airflow.example.org"
FIRST, SECOND, OLD = (Holder(URL, "glance_rolling_upgrade_it", name) for name in ("first", "second", "old"))
ROUNDS = 60
SELECT = "SELECT database_name, airflow, dag_id, run_id FROM rolling_upgrade.claims"


@pytest.fixture
def fleet(database: MariaDB, tmp_path: Path) -> Fleet:
    return write_fleet(tmp_path / "fleets")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The runs of this Airflow."""
    states = {"first": "running", "second": "running"}
    runs(monkeypatch, states)
    return states


def schemas(database: MariaDB) -> set[str]:
    return {row[0] for row in database.run("SHOW DATABASES")}


Outcome = Decision | HeldError


def at_once(fleet: Fleet, *asking: Holder) -> list[Outcome]:
    """What each of these is answered when all ask in the same moment."""
    together = threading.Barrier(len(asking), timeout=10)
    answers: dict[int, Outcome] = {}

    def ask(number: int) -> None:
        together.wait()
        try:
            answers[number] = hold(fleet, asking[number])
        except HeldError as error:
            answers[number] = error

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(asking))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [answers[number] for number in range(len(asking))]


def one_winner(outcomes: list[Outcome], names: list[str]) -> tuple[str, Decision]:
    """Who has won, and how; every other one was refused by the winner's name."""
    (won,) = [(name, outcome) for name, outcome in zip(names, outcomes, strict=True) if isinstance(outcome, Decision)]
    for outcome in outcomes:
        if isinstance(outcome, HeldError):
            assert f"run {won[0]} of glance_rolling_upgrade_it" in outcome.found
    return won


def test_of_two_runs_at_once_exactly_one_has_the_fleet(database: MariaDB, fleet: Fleet) -> None:
    winners = set()
    for number in range(ROUNDS):
        # Now and then even schema and table are made at once by both.
        database.run("DROP DATABASE IF EXISTS rolling_upgrade" if number % 10 == 0 else "SELECT 1")
        name, how = one_winner(at_once(fleet, FIRST, SECOND), ["first", "second"])
        assert how is Decision.CLAIM
        assert database.run(SELECT) == [(SCHEMA, URL, "glance_rolling_upgrade_it", name)]
        assert release(fleet, FIRST if name == "first" else SECOND)
        winners.add(name)
    assert winners == {"first", "second"}, "it was a race"


def test_of_two_runs_at_once_exactly_one_takes_over(database: MariaDB, fleet: Fleet, known: dict[str, str]) -> None:
    winners = set()
    for _ in range(ROUNDS):
        known["old"] = "running"
        assert hold(fleet, OLD) is Decision.CLAIM
        known["old"] = "failed"
        name, how = one_winner(at_once(fleet, FIRST, SECOND), ["first", "second"])
        assert how is Decision.TAKE_OVER
        assert [row[3] for row in database.run(SELECT)] == [name]
        database.run("DELETE FROM rolling_upgrade.claims")
        winners.add(name)
    assert winners == {"first", "second"}, "it was a race"


def test_steps_of_one_run_do_not_refuse_each_other(database: MariaDB, fleet: Fleet) -> None:
    for _ in range(10):
        answers = [answer for answer in at_once(fleet, *[FIRST] * 6) if isinstance(answer, Decision)]
        assert sorted(answer.name for answer in answers) == ["CLAIM", *["MINE"] * 5]
        release(fleet, FIRST)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_is_not_over_keeps_the_fleet(fleet: Fleet, known: dict[str, str], state: str) -> None:
    hold(fleet, FIRST)
    known["first"] = state

    with pytest.raises(HeldError, match=r"fleet it is held by run first of glance_rolling_upgrade_it"):
        hold(fleet, SECOND)

    assert hold(fleet, FIRST) is Decision.MINE


@pytest.mark.parametrize("state", ["success", "failed", None])
def test_a_run_that_is_over_or_deleted_is_taken_over_once(
    fleet: Fleet, known: dict[str, str], state: str | None
) -> None:
    hold(fleet, FIRST)
    known.pop("first") if state is None else known.update(first=state)

    assert other_holder(fleet, SECOND) is None
    assert hold(fleet, SECOND) is Decision.TAKE_OVER
    assert hold(fleet, SECOND) is Decision.MINE

    # Cleared, the first is at work again, and finds out that the fleet is not its own any more.
    known["first"] = "running"
    with pytest.raises(HeldError, match="run second of"):
        hold(fleet, FIRST)
    assert not release(fleet, FIRST)
    assert other_holder(fleet, FIRST) == SECOND


def test_a_run_that_is_cleared_while_another_takes_over_keeps_the_fleet(
    fleet: Fleet, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the question whether it is over and the take-over it may begin a step, sure to hold the fleet."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    hold(fleet, FIRST)
    known["first"] = "failed"
    asked: Callable[..., int] = RuntimeTaskInstance.get_dr_count
    began: list[Decision] = []

    def cleared_after_the_answer(dag_id: str, **of: list[str]) -> int:
        count = asked(dag_id, **of)
        if count and not began:
            known["first"] = "running"
            began.append(hold(fleet, FIRST))
        return count

    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", cleared_after_the_answer)

    with pytest.raises(HeldError, match="run first of"):
        hold(fleet, SECOND)

    assert began == [Decision.MINE]
    assert hold(fleet, FIRST) is Decision.MINE


def test_a_released_fleet_is_free_and_nobody_else_can_release_it(database: MariaDB, fleet: Fleet) -> None:
    assert not release(fleet, FIRST), "nobody has claimed anything yet"
    hold(fleet, FIRST)

    assert not release(fleet, SECOND)
    assert [row[3] for row in database.run(SELECT)] == ["first"]
    assert release(fleet, FIRST)
    assert hold(fleet, SECOND) is Decision.CLAIM


def test_looking_who_holds_the_fleet_changes_nothing(database: MariaDB, fleet: Fleet) -> None:
    assert other_holder(fleet, FIRST) is None
    assert "rolling_upgrade" not in schemas(database)
    hold(fleet, FIRST)
    before = database.run("SELECT * FROM rolling_upgrade.claims")

    assert other_holder(fleet, FIRST) is None
    assert other_holder(fleet, SECOND) == FIRST
    assert database.run("SELECT * FROM rolling_upgrade.claims") == before


def test_a_fleet_file_of_another_name_does_not_hide_the_installation(fleet: Fleet, tmp_path: Path) -> None:
    hold(fleet, FIRST)

    with pytest.raises(HeldError, match="fleet elsewhere is held by run first"):
        hold(fleet.model_copy(update={"name": "elsewhere"}), SECOND)


def test_another_installation_in_the_same_server_has_a_claim_of_its_own(fleet: Fleet) -> None:
    hold(fleet, FIRST)
    other = fleet.model_copy(update={"database": fleet.database.model_copy(update={"name": "keystone"})})

    assert hold(other, SECOND) is Decision.CLAIM


def test_the_schema_is_where_the_fleet_file_says(database: MariaDB, fleet: Fleet) -> None:
    name = "upgrades-of.all"
    database.run(f"DROP DATABASE IF EXISTS `{name}`", f"GRANT ALL ON `{name}`.* TO '{OPERATOR.name}'@'%'")
    other = fleet.model_copy(update={"database": fleet.database.model_copy(update={"claims_schema": name})})

    assert hold(other, FIRST) is Decision.CLAIM
    assert database.run("SELECT run_id FROM claims", schema=name) == [("first",)]
    database.run(f"DROP DATABASE `{name}`")


def test_the_statement_that_is_told_releases_what_another_airflow_holds(
    database: MariaDB, fleet: Fleet, known: dict[str, str]
) -> None:
    elsewhere = Holder("https://other.example.org", "glance_rolling_upgrade_it", 'it\'s a \\ "run"; -- %s Grüße')
    hold(fleet, elsewhere)

    with pytest.raises(HeldError, match="in another Airflow, which cannot be asked") as caught:
        hold(fleet, SECOND)

    statement = caught.value.next_step[caught.value.next_step.index("DELETE FROM") :]
    connection = database.connect(OPERATOR)
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()
    assert database.run(SELECT) == []
    assert hold(fleet, SECOND) is Decision.CLAIM


@pytest.fixture
def weak(database: MariaDB, set_connection: SetConnection) -> Login:
    """A login that may do nothing with claims."""
    login = Login("weak", "weak-password")
    database.user(login, SCHEMA, "GRANT SELECT ON {schema}.* TO {user}")
    set_connection("it_database", database.connection(login))
    return login


@pytest.mark.parametrize("may", ["", "SELECT", "SELECT, INSERT, UPDATE, DELETE"])
def test_a_login_without_the_grants_is_told_the_statement_that_gives_them(
    database: MariaDB, fleet: Fleet, weak: Login, may: str
) -> None:
    if may:
        database.run(f"GRANT {may} ON rolling_upgrade.* TO '{weak.name}'@'%'")

    with pytest.raises(PrecheckError, match="the login of connection it_database may not claim the fleet") as caught:
        hold(fleet, FIRST)

    assert "rolling_upgrade" not in schemas(database)
    told = caught.value.next_step
    assert told.endswith(
        "GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON `rolling_upgrade`.* TO 'weak'@'%';",
    )
    database.run(told[told.index("GRANT") :])
    assert hold(fleet, FIRST) is Decision.CLAIM


def test_where_an_administrator_made_the_table_no_right_to_make_it_is_needed(
    database: MariaDB, fleet: Fleet, set_connection: SetConnection, weak: Login
) -> None:
    set_connection("it_database", database.connection(OPERATOR))
    hold(fleet, FIRST)
    release(fleet, FIRST)
    set_connection("it_database", database.connection(weak))
    database.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON rolling_upgrade.* TO '{weak.name}'@'%'")

    assert hold(fleet, FIRST) is Decision.CLAIM


@pytest.mark.parametrize("act", [hold, release, other_holder])
def test_a_server_that_does_not_answer_gives_no_claim(
    database: MariaDB, fleet: Fleet, set_connection: SetConnection, act: Callable[[Fleet, Holder], object]
) -> None:
    set_connection("it_database", database.connection(OPERATOR, port=free_port()))

    with pytest.raises(UnreachableError, match="the database of connection it_database cannot be asked who holds"):
        act(fleet, FIRST)


def test_no_connection_stays_open(database: MariaDB, fleet: Fleet) -> None:
    hold(fleet, FIRST)
    with pytest.raises(HeldError):
        hold(fleet, SECOND)
    release(fleet, FIRST)

    deadline = time.monotonic() + 5
    while [row for row in database.run("SHOW PROCESSLIST") if row[1] == OPERATOR.name]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_making_sure_before_a_step_is_cheap(fleet: Fleet) -> None:
    hold(fleet, FIRST)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        assert hold(fleet, FIRST) is Decision.MINE
        took.append(time.perf_counter() - began)
    print(f"median {statistics.median(took) * 1000:.1f} ms")
    assert statistics.median(took) < 0.05


def test_the_grant_of_the_lab_is_the_one_that_is_told() -> None:
    lab = Path("include/lab/database.py").read_text()
    assert CLAIMS_GRANT.format(user="{operator}") in lab
