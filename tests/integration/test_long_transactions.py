"""Transactions that stay open: a change of the schema would wait for them, and every request for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Thread
from typing import Any

import MySQLdb
import pytest

from rolling_upgrade.errors import PrecheckError, UnreachableError
from rolling_upgrade.operators.database_phase import ContractOperator
from tests.integration.parts.fleets import NAME, SCHEMA, context
from tests.integration.parts.mariadb import CLAIMS_GRANT, OPERATOR, SERVICE
from tests.integration.parts.processes import until
from tests.integration.parts.schema_world import LONG_SECONDS, SchemaWorld

pytestmark = pytest.mark.integration

COMMAND_OF = "SELECT COMMAND FROM information_schema.PROCESSLIST WHERE ID = {}"


@pytest.fixture
def world(before_expand: SchemaWorld) -> SchemaWorld:
    return before_expand


@contextmanager
def transaction(world: SchemaWorld, login: Any = SERVICE, schema: str = SCHEMA) -> Iterator[Any]:
    """One that has changed a row and is not ended, long enough to count."""
    session = world.database.connect(login, schema)
    try:
        session.autocommit(False)
        cursor = session.cursor()
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        age = "SELECT MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())) FROM information_schema.INNODB_TRX"
        until(lambda: world.database.run("SET time_zone = 'SYSTEM'", age)[0][0] >= LONG_SECONDS, "a long transaction")
        yield session
    finally:
        session.close()


@pytest.mark.parametrize("zone", ["SYSTEM", "+09:00", "-09:00"])
def test_a_long_transaction_is_named_and_nothing_was_changed(world: SchemaWorld, zone: str) -> None:
    """Whatever time zone sessions get."""
    kept = world.database.run("SELECT @@GLOBAL.time_zone")[0][0]
    world.database.run(f"SET GLOBAL time_zone = '{zone}'")
    try:
        with transaction(world):
            before = world.state()
            with pytest.raises(PrecheckError) as caught:
                world.check()
            with pytest.raises(PrecheckError, match="transactions are open"):
                world.expand()
            assert world.state() == before
    finally:
        world.database.run(f"SET GLOBAL time_zone = '{kept}'")

    assert "transactions are open for 2 s or more (database.long_transaction_seconds)" in caught.value.found
    assert re.search(rf": {SERVICE.name} from 127\.0\.0\.1, open for \d\d? s, idle\.$", caught.value.found)
    assert "`SHOW PROCESSLIST`, `KILL`" in caught.value.next_step
    assert world.ssh.told == []
    assert world.check()["changed"] is False  # it has ended


def test_what_a_long_transaction_runs_is_named(world: SchemaWorld) -> None:
    with transaction(world) as session:
        name = session.thread_id()
        report = Thread(
            target=run_until_killed, args=(session, "SELECT /* a report */ SLEEP(30), id FROM images"), daemon=True
        )
        report.start()
        try:
            until(lambda: ("Query",) in world.database.run(COMMAND_OF.format(name)), "the report")
            with pytest.raises(PrecheckError, match=r"open for \d+ s, runs `SELECT /\* a report \*/ SLEEP\(30\)"):
                world.check()
        finally:
            world.database.run(f"KILL {name}")
            report.join()


def run_until_killed(session: Any, statement: str) -> None:
    with suppress(MySQLdb.Error):
        session.cursor().execute(statement)


def test_transactions_of_other_services_in_other_schemas_are_no_obstacle(world: SchemaWorld) -> None:
    world.database.run("CREATE OR REPLACE DATABASE nova")
    world.database.user(replace(SERVICE, name="nova"), "nova", "GRANT ALL ON {schema}.* TO {user}")

    with transaction(world, replace(SERVICE, name="nova"), "nova"):
        assert world.check()["changed"] is False


def test_a_login_that_cannot_see_transactions_is_told_so(world: SchemaWorld) -> None:
    world.database.user(OPERATOR, SCHEMA, "GRANT SELECT ON {schema}.* TO {user}", CLAIMS_GRANT)
    before = world.state()

    with pytest.raises(UnreachableError, match="PROCESS privilege"):
        world.check()

    assert world.state() == before


def test_what_has_run_already_needs_no_privilege_and_waits_for_nobody(world: SchemaWorld) -> None:
    world.database.at("two_contract")
    world.database.user(SERVICE, SCHEMA, "GRANT SELECT ON {schema}.* TO {user}")

    with transaction(world):
        assert world.check()["changed"] is False


def test_contract_does_not_begin_without_privilege_or_behind_a_long_transaction(world: SchemaWorld) -> None:
    world.database.at("one_contract", "two_expand")
    world.database.user(SERVICE, SCHEMA, "GRANT SELECT ON {schema}.* TO {user}")
    contract = ContractOperator(task_id="contract", fleet=NAME, node="node1")

    with transaction(world, OPERATOR):
        before = world.state()
        with pytest.MonkeyPatch.context() as patch:
            # That no old service is left is asked before, and is of other tests.
            patch.setattr("rolling_upgrade.operators.database_phase.why_old_services_may_remain", lambda *_: [])
            with pytest.raises(PrecheckError) as caught:
                contract.execute(context(world.fleet))

    assert caught.value.found.startswith("contract must not begin: glance@%")
    assert "has no INSERT, UPDATE" in caught.value.found
    assert "upgrade from 127.0.0.1, open for" in caught.value.found
    assert world.state() == before
    assert world.ssh.told == []
