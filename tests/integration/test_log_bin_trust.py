"""Beside a real binary log: who may make triggers, and the server's own setting that always comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from types import SimpleNamespace
from typing import Any

import MySQLdb
import pytest

from rolling_upgrade.decisions.schema_checks import TRUST, needs_trust
from rolling_upgrade.errors import PrecheckError, RollingUpgradeError
from rolling_upgrade.fleet.inventory import Database, Fleet
from rolling_upgrade.hooks import log_bin_trust
from rolling_upgrade.hooks.database_facts import read_login_facts
from tests.integration.parts.fleets import SCHEMA
from tests.integration.parts.mariadb import BINARY_LOG, OPERATOR, OPERATOR_GRANTS, SERVICE, MariaDB, mariadb
from tests.integration.parts.schema_world import SchemaWorld
from tests.integration.parts.site import SetConnection

pytestmark = pytest.mark.integration

EVERYTHING = "GRANT ALL ON {schema}.* TO {user}"
TRIGGER = "CREATE TRIGGER checked BEFORE INSERT ON images FOR EACH ROW SET NEW.visibility = 'private'"


@pytest.fixture(scope="module")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """In place of the one without a binary log."""
    with mariadb(tmp_path_factory.mktemp("log"), *BINARY_LOG) as server:
        yield server


@pytest.fixture
def world(trusting_world: SchemaWorld) -> SchemaWorld:
    return trusting_world


# --- who may make triggers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusting", [0, 1])
@pytest.mark.parametrize(
    "more",
    [
        "GRANT USAGE ON *.* TO {user}",
        "GRANT SUPER ON *.* TO {user}",
        "GRANT ALL ON *.* TO {user}",
        "GRANT BINLOG ADMIN, SET USER, BINLOG REPLAY, REPLICATION MASTER ADMIN ON *.* TO {user}",
    ],
)
def test_the_decision_is_that_of_the_server(world: SchemaWorld, more: str, trusting: int) -> None:
    """Making and dropping a trigger, and logging in with a role as well."""
    world.database.run(f"SET GLOBAL {TRUST} = {trusting}")
    world.database.user(SERVICE, SCHEMA, EVERYTHING, more)
    needs = needs_trust(read_login_facts(world.fleet.database), SCHEMA)

    session = world.database.connect(SERVICE, SCHEMA)
    try:
        if needs:
            world.database.run(TRIGGER, schema=SCHEMA)
            for statement in (TRIGGER.replace("checked", "other"), "DROP TRIGGER checked"):
                with pytest.raises(MySQLdb.Error, match="You do not have the SUPER privilege"):
                    session.cursor().execute(statement)
        else:
            session.cursor().execute(TRIGGER)
            session.cursor().execute("DROP TRIGGER checked")
    finally:
        session.close()
    assert needs is (trusting == 0 and "SUPER" not in more and "ALL" not in more)


def test_a_role_counts_as_far_as_it_is_active(world: SchemaWorld) -> None:
    world.database.run("CREATE OR REPLACE ROLE mighty", "GRANT SUPER ON *.* TO mighty")
    world.database.user(SERVICE, SCHEMA, EVERYTHING, "GRANT mighty TO {user}")
    assert needs_trust(read_login_facts(world.fleet.database), SCHEMA)

    world.database.run(f"SET DEFAULT ROLE mighty FOR '{SERVICE.name}'@'%'")

    assert not needs_trust(read_login_facts(world.fleet.database), SCHEMA)


# --- the setting is given back ------------------------------------------------------------------------------------


def test_a_login_with_super_needs_no_trust(world: SchemaWorld) -> None:
    world.database.user(SERVICE, SCHEMA, EVERYTHING, "GRANT SUPER ON *.* TO {user}")

    assert log_bin_trust.allow(world.fleet) == ""

    assert not world.trusts
    assert world.remembered == []


def test_a_server_that_trusts_by_itself_stays_so(world: SchemaWorld) -> None:
    world.database.run(f"SET GLOBAL {TRUST} = 1")

    assert log_bin_trust.allow(world.fleet) == ""
    assert log_bin_trust.put_back(world.fleet.database) == ""

    assert world.trusts


def test_a_fleet_file_that_does_not_allow_it_lets_nothing_be_set(world: SchemaWorld) -> None:
    world.forbid_trust()

    assert log_bin_trust.allow(world.fleet) == ""

    assert not world.trusts
    assert world.remembered == []


def test_it_is_set_for_the_service_and_put_back_however_often(world: SchemaWorld) -> None:
    for _ in range(2):  # a try that died has set it already
        assert "=1" in log_bin_trust.allow(world.fleet)
        assert world.trusts
        assert world.remembered == [(SCHEMA, 0)]
    session = world.database.connect(SERVICE, SCHEMA)
    session.cursor().execute(TRIGGER)
    session.close()

    assert "is 0 again, as the server had it" in log_bin_trust.put_back(world.fleet.database)
    assert not world.trusts
    assert world.remembered == []
    assert log_bin_trust.put_back(world.fleet.database) == ""


# --- killed anywhere, several at once -----------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing of the process runs any more."""


@contextmanager
def dies(monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> Iterator[None]:
    """The process is killed right before or after its statement of that number; its connection is gone with it."""
    real, count = log_bin_trust.Trust._do, 0

    def do(self: Any, statement: str, parameters: Any = None) -> Any:
        nonlocal count
        count += 1
        if count > at or (count == at and not after):
            self._connection.close()
            raise Killed
        done = real(self, statement, parameters)
        if count == at:
            self._connection.close()
            raise Killed
        return done

    with monkeypatch.context() as patch, suppress(Killed, MySQLdb.Error):
        patch.setattr(log_bin_trust.Trust, "_do", do)
        yield


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("what", ["allow", "put_back"])
def test_killed_at_any_statement_the_servers_own_value_comes_back(
    world: SchemaWorld, monkeypatch: pytest.MonkeyPatch, what: str, at: int, after: bool
) -> None:
    if what == "put_back":
        log_bin_trust.allow(world.fleet)
    with dies(monkeypatch, at, after=after):
        log_bin_trust.allow(world.fleet) if what == "allow" else log_bin_trust.put_back(world.fleet.database)
    if world.trusts:
        assert world.remembered == [(SCHEMA, 0)], "what is set is always remembered"
    if what == "allow":
        log_bin_trust.allow(world.fleet)
        assert world.trusts, "the next try is let"

    log_bin_trust.put_back(world.fleet.database)

    assert not world.trusts
    assert world.remembered == []


def neighbour(world: SchemaWorld, number: int) -> Fleet:
    """Another fleet on the same server, with a database of its own."""
    world.database.run(f"CREATE OR REPLACE DATABASE glance{number}")
    world.database.run(f"GRANT ALL ON glance{number}.* TO '{SERVICE.name}'@'%'")
    database: Database = world.fleet.database.model_copy(update={"name": f"glance{number}"})
    return world.fleet.model_copy(update={"database": database})


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_fleets_on_one_server_the_last_puts_it_back(world: SchemaWorld, first: int) -> None:
    fleets = [world.fleet, neighbour(world, 2)]
    for fleet in fleets:
        assert log_bin_trust.allow(fleet)

    assert "another fleet still needs" in log_bin_trust.put_back(fleets[first].database)
    assert world.trusts
    assert "is 0 again" in log_bin_trust.put_back(fleets[1 - first].database)
    assert not world.trusts


def test_several_at_once_never_take_it_from_each_other(world: SchemaWorld) -> None:
    wrong: list[str] = []

    def again_and_again(fleet: Fleet) -> None:
        try:
            for _ in range(12):
                log_bin_trust.allow(fleet)
                if not world.trusts:
                    wrong.append(f"{fleet.database.name} is not let")
                log_bin_trust.put_back(fleet.database)
        except (RollingUpgradeError, MySQLdb.Error) as error:
            wrong.append(repr(error))

    threads = [Thread(target=again_and_again, args=[neighbour(world, number)]) for number in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert not world.trusts
    assert world.remembered == []


def test_after_a_restart_a_login_that_may_no_longer_set_it_still_forgets(world: SchemaWorld) -> None:
    log_bin_trust.allow(world.fleet)
    world.database.run(f"SET GLOBAL {TRUST} = 0")  # as the server's own start would
    world.database.user(OPERATOR, SCHEMA, *OPERATOR_GRANTS)

    assert "is 0 again" in log_bin_trust.put_back(world.fleet.database)

    assert world.remembered == []


def test_what_cannot_be_put_back_after_a_phase_is_told_and_hides_nothing(world: SchemaWorld) -> None:
    log_bin_trust.allow(world.fleet)
    world.database.user(OPERATOR, SCHEMA, *OPERATOR_GRANTS)
    told: list[str] = []
    log: Any = SimpleNamespace(info=told.append, error=lambda text, *said: told.append(text % said))

    log_bin_trust.put_back_after_phase(world.fleet.database, log)

    (said,) = told
    assert "stays as it is for now, a later step or run puts it back" in said
    assert world.remembered == [(SCHEMA, 0)]


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with mariadb(tmp_path_factory.mktemp("other"), *BINARY_LOG) as server:
        yield server


def test_connections_to_different_servers_are_noticed(
    world: SchemaWorld, other_server: MariaDB, set_connection: SetConnection
) -> None:
    other_server.run(f"CREATE OR REPLACE DATABASE {SCHEMA}")
    other_server.user(SERVICE, SCHEMA, EVERYTHING)
    set_connection("it_service_database", other_server.connection(SERVICE))

    with pytest.raises(PrecheckError, match="is still 0 for the service's login"):
        log_bin_trust.allow(world.fleet)

    assert not world.trusts
    assert world.remembered == []


def test_a_fleet_that_never_set_it_needs_no_table(world: SchemaWorld) -> None:
    assert log_bin_trust.put_back_when_idle(world.fleet, world.profile) == ""
    assert world.database.run("SHOW DATABASES LIKE 'rolling_upgrade'") == []
