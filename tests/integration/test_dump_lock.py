"""No dump beside a phase of the database, nor beside another dump, whoever was killed on the way."""

# ruff: noqa: S608 - every word of these statements is the tests' own

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.evidence.record import now
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.hooks.dump_lock import dump_lock, no_dump_runs
from rolling_upgrade.operators.database_phase import ExpandOperator, MigrateOperator
from tests.integration.parts.backups import Backup, Tools, fingerprint, kill, nothing_was_changed
from tests.integration.parts.fleets import NAME, SCHEMA, context
from tests.integration.parts.mariadb import OPERATOR, MariaDB
from tests.integration.parts.processes import free_port, program, until
from tests.integration.parts.site import SetConnection
from tests.integration.parts.sshd import Sshd

pytestmark = pytest.mark.integration

UNDER_WAY = r"a dump or a restore of glance, or the beginning of a phase, is under way: session \d+ from 127\.0\.0\.1"
DUMP_QUERY = f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{OPERATOR.name}' AND INFO LIKE 'SELECT /*!%'"


@pytest.fixture
def schema(
    small_schema: MariaDB,
    small_catalogue: Catalogue,
    set_connection: SetConnection,
    reachable_nodes: Sshd,
    unconfigured_phases: None,
) -> MariaDB:
    """A schema where it is the turn of expand, on nodes whose systemd starts whatever it is told to."""
    set_connection("it_lb1", {"conn_type": "generic", "host": "127.0.0.1", "port": free_port()})
    small_schema.at("one_contract")
    return small_schema


def expand(backup: Backup) -> None:
    """Begin expand, with a backup that is recorded; how it goes on is nothing to these tests."""
    asked = context(backup.fleet, backup_database={"begun": now()})
    try:
        ExpandOperator(task_id="expand", fleet=NAME, node="node1").execute(asked)
    except VerifyError:
        return


def test_neither_a_phase_nor_a_dump_begins_while_a_dump_is_written(
    schema: MariaDB, backup: Backup, tools: Tools, reachable_nodes: Sshd
) -> None:
    waiting, before = tools.held("mariadb-dump"), fingerprint(schema)
    with backup.elsewhere():
        until(waiting.exists, "the dump to begin")
        files = backup.files()

        with pytest.raises(PrecheckError, match=UNDER_WAY) as caught:
            expand(backup)
        with pytest.raises(PrecheckError, match=UNDER_WAY):
            backup()

    assert "KILL" in caught.value.next_step
    assert reachable_nodes.told == []
    assert len(files) == 1, "the other dump goes on"
    assert fingerprint(schema) == before


def test_no_phase_begins_while_a_dump_is_proven(
    schema: MariaDB, backup: Backup, tools: Tools, reachable_nodes: Sshd
) -> None:
    waiting = tools.held("mariadb")
    with backup.elsewhere():
        until(waiting.exists, "the restore to begin")

        with pytest.raises(PrecheckError, match=UNDER_WAY):
            expand(backup)

    assert reachable_nodes.told == []


def test_a_dump_that_was_killed_holds_nothing_up(
    schema: MariaDB, backup: Backup, tools: Tools, reachable_nodes: Sshd
) -> None:
    waiting = tools.held("mariadb-dump")
    with backup.elsewhere() as step:
        until(waiting.exists, "the dump to begin")
        kill(step)

    expand(backup)

    assert len(reachable_nodes.told) == 1
    tools.free("mariadb-dump")


def test_the_tool_does_not_outlive_the_step_that_runs_it(schema: MariaDB, backup: Backup) -> None:
    """It waits for a table, so that nothing but its own death ends it."""
    with locked(schema, "images"), backup.elsewhere() as step:
        until(lambda: bool(schema.run(DUMP_QUERY)), "the dump to wait for the table")
        kill(step)
        until(lambda: schema.run(DUMP_QUERY) == [], "the dump to end with its owner")


def test_a_dump_by_another_hand_is_seen(schema: MariaDB, backup: Backup, reachable_nodes: Sshd) -> None:
    """Nobody but the server knows of it."""
    command = [program("mariadb-dump", "mariadb-client"), "--no-defaults", f"--socket={schema.socket}", SCHEMA]
    with (
        locked(schema, "images"),
        subprocess.Popen([*command, "--skip-lock-tables"], stdout=subprocess.DEVNULL) as cron,
    ):
        try:
            until(lambda: bool(schema.run(DUMP_QUERY.replace(f"'{OPERATOR.name}'", "USER"))), "the dump to begin")

            with pytest.raises(PrecheckError, match=r"under way: session \d+ from localhost"):
                expand(backup)
        finally:
            cron.kill()

    assert reachable_nodes.told == []


def test_no_dump_begins_while_a_phase_is_started(schema: MariaDB, backup: Backup, reachable_nodes: Sshd) -> None:
    """It is on its way to systemd, where no dump could see it yet."""
    before = fingerprint(schema)
    phase = threading.Thread(target=expand, args=[backup])
    with reachable_nodes.held("--unit=small-db-expand-2.0.0.service") as held:
        phase.start()
        until(held, "the phase to be on its way")

        with pytest.raises(PrecheckError, match=UNDER_WAY):
            backup()
    phase.join(20)

    nothing_was_changed(schema, backup, before)
    assert len(reachable_nodes.told) == 1


def test_a_migrate_does_not_begin_beside_a_dump_either(schema: MariaDB, backup: Backup, reachable_nodes: Sshd) -> None:
    schema.at("two_expand")
    with dump_lock(backup.fleet.database), pytest.raises(PrecheckError, match=UNDER_WAY):
        MigrateOperator(task_id="migrate", fleet=NAME, node="node1").execute(context(backup.fleet))

    assert reachable_nodes.told == []


def test_a_dump_whose_lock_was_lost_is_not_kept(schema: MariaDB, backup: Backup, tools: Tools) -> None:
    """The server closes the session that has it, and a phase may begin, before the dump has ended."""
    before = fingerprint(schema)
    asked = "SELECT CONCAT('KILL ', IS_USED_LOCK('rolling_upgrade:glance'))"
    client = f'"$real" --no-defaults --socket={schema.socket} -BN'
    tools.script("mariadb", f'{client} -e "$({client} -e "{asked}")" || exit 9\nexec "$real" "$@"')

    with pytest.raises(VerifyError, match="the lock that keeps phases of the database from beginning was lost"):
        backup()

    nothing_was_changed(schema, backup, before)


def test_databases_of_other_names_are_not_in_each_others_way(schema: MariaDB, backup: Backup) -> None:
    database = backup.fleet.database
    with dump_lock(database.model_copy(update={"name": "cinder"})), no_dump_runs(database):
        pass
    with dump_lock(database):
        pass


@contextmanager
def locked(database: MariaDB, table: str) -> Iterator[None]:
    """Nobody else reads the table for as long as the block lasts."""
    connection = database.connect(schema=SCHEMA)
    try:
        connection.cursor().execute(f"LOCK TABLES {table} WRITE")
        yield
    finally:
        connection.close()
