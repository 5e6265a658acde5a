"""Trust in the creators of triggers, for as long as expand or contract runs, and put back afterwards.

Beside a binary log a login without SUPER makes and drops triggers only while ``log_bin_trust_function_creators`` is on.
What the server had before is kept in a row beside the claims, written first and deleted last: whoever is killed in
between, a later step or run finds the row and puts the value back. Several fleets on one server share the variable:
the last one to end puts it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from logging import Logger
from typing import Any, Self

from rolling_upgrade.decisions.schema_checks import TRUST, needs_trust
from rolling_upgrade.errors import PrecheckError, RollingUpgradeError, UnreachableError
from rolling_upgrade.fleet.inventory import Database, Fleet
from rolling_upgrade.hooks.claims import LOST_RACE, NO_SUCH_TABLE
from rolling_upgrade.hooks.database_facts import read_login_facts
from rolling_upgrade.hooks.phase import refuse_running_phase
from rolling_upgrade.hooks.sql import open_connection
from rolling_upgrade.services.profile import ServiceProfile

ROUNDS = 5
"""How often a lost race for the rows is run again."""
MAKE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS `{schema}`"
# The variable is the server's own, also in a cluster that shares the rows.
MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    server VARCHAR(255) NOT NULL, database_name VARCHAR(64) NOT NULL,
    previous BOOLEAN NOT NULL COMMENT 'what the variable was', since DATETIME(6) NOT NULL COMMENT 'UTC',
    PRIMARY KEY (server, database_name)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""
SERVER = "CONCAT(@@GLOBAL.hostname, ':', @@GLOBAL.port)"
ROWS = "SELECT database_name, previous FROM {table} WHERE server = {server}"
LOCK_ROWS = f"{ROWS} FOR UPDATE"
REMEMBER = "INSERT INTO {table} VALUES ({server}, %s, %s, UTC_TIMESTAMP(6))"
FORGET = "DELETE FROM {table} WHERE server = {server} AND database_name = %s"


def allow(fleet: Fleet) -> str:
    """Let the service's login make and drop triggers; returns what was done, nothing where nothing is needed.

    Does nothing unless the fleet file says so. Raises PrecheckError when it cannot be, UnreachableError.
    """
    database = fleet.database
    if not database.set_log_bin_trust:
        return ""
    # Asked as if nobody was trusted: another fleet's trust ends when that fleet is done.
    alone = replace(read_login_facts(database), trusts_creators=False)
    if not needs_trust(alone, database.name):
        return ""
    if not _again(database, _remember_and_set):
        return ""
    if not read_login_facts(database).trusts_creators:
        put_back(database)
        raise PrecheckError(
            f"{TRUST} was set over connection {database.connection}, and is still 0 for the service's login.",
            expected="both connections of the fleet file to lead to the same database server.",
            safe="the schema was not changed; the variable was put back.",
            next_step="correct the connections, then clear this task.",
        )
    return f"the server trusts creators of triggers until this phase has ended ({TRUST}=1)"


def put_back(database: Database) -> str:
    """Give the server its own value again; returns what was done, nothing where nothing was. Repeats change nothing.

    Only for when no phase runs. Raises UnreachableError, PrecheckError.
    """
    return _again(database, _set_and_forget)


def put_back_when_idle(fleet: Fleet, profile: ServiceProfile) -> str:
    """As ``put_back``, and only while no phase runs on any node. Raises PrecheckError for one, UnreachableError."""
    with Trust(fleet.database).connected() as trust:
        if fleet.database.name not in trust.rows():
            return ""
    refuse_running_phase(fleet, profile)
    return put_back(fleet.database)


def put_back_after_phase(database: Database, log: Logger) -> None:
    """As ``put_back``, by whoever saw the phase end. A failure is logged: ``verify`` and the next plan do it again."""
    _quietly(lambda: put_back(database), log)


def put_back_if_idle(fleet: Fleet, profile: ServiceProfile, log: Logger) -> None:
    """As ``put_back_when_idle``. A failure is logged: ``verify`` and the next plan do it again."""
    _quietly(lambda: put_back_when_idle(fleet, profile), log)


@contextmanager
def put_back_on_failure(fleet: Fleet, profile: ServiceProfile, log: Logger) -> Iterator[None]:
    """A phase that could not be started needs no trust, and neither does one that a dead try had it set for."""
    try:
        yield
    except RollingUpgradeError:
        put_back_if_idle(fleet, profile, log)
        raise


def _quietly(do: Callable[[], str], log: Logger) -> None:
    try:
        if said := do():
            log.info("%s", said)
    except RollingUpgradeError as error:
        log.error("%s stays as it is for now, a later step or run puts it back: %s", TRUST, error)


def _remember_and_set(trust: Trust) -> str:
    name = trust.database.name
    with trust.locked(make=True) as rows:
        if name not in rows:
            if not rows and trust.value():
                return ""  # the server's own setting, which stays
            trust.remember(name, previous=min(rows.values(), default=False))
    # After the row is there: then others see it, and leave the variable on.
    trust.set(True)
    return "set"


def _set_and_forget(trust: Trust) -> str:
    name = trust.database.name
    with trust.locked() as rows:
        if name not in rows:
            return ""
        said = f"another fleet still needs {TRUST}=1 on this server; it puts it back"
        if set(rows) == {name}:
            # After a restart the server has its own value already, and a login that could not set it need not.
            if trust.value() != rows[name]:
                trust.set(rows[name])
            said = f"{TRUST} is {int(rows[name])} again, as the server had it"
        trust.forget(name)
    return said


def _again(database: Database, change: Callable[[Trust], str]) -> str:
    with Trust(database).connected() as trust:
        for _ in range(ROUNDS):
            try:
                return change(trust)
            except _LostRaceError:
                continue
    raise UnreachableError(
        f"the rows about {TRUST} stayed locked by others for {ROUNDS} rounds.",
        expected="to change them.",
        safe="this step has changed nothing.",
        next_step="see who holds them, then clear this task.",
    )


class _LostRaceError(Exception):
    """Somebody else changed the rows at the same time."""


class _NoTableError(Exception):
    """Nothing was ever set on this server."""


class Trust:
    """The rows and the variable, over one connection of the operator's login."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._connection: Any = None

    @contextmanager
    def connected(self) -> Iterator[Self]:
        """Raises PrecheckError for a connection that cannot be used, UnreachableError."""
        with self._errors():
            self._connection = open_connection(self.database.connection)
        try:
            yield self
        finally:
            self._connection.close()

    def rows(self, *, lock: bool = False) -> dict[str, bool]:
        """What this server had before, by database. ``lock``: nobody else changes them in this transaction."""
        try:
            found = self._do(LOCK_ROWS if lock else ROWS)
        except _NoTableError:
            return {}
        return {str(name): bool(previous) for name, previous in found}

    @contextmanager
    def locked(self, *, make: bool = False) -> Iterator[dict[str, bool]]:
        """The rows, which nobody else changes until the block ends; that commits.

        An error inside, and the end of the process, leave them as they were. ``make`` the table where it is missing.
        """
        if make:
            self._do(MAKE_SCHEMA)
            self._do(MAKE_TABLE)
        self._do("START TRANSACTION")
        try:
            yield self.rows(lock=True)
            self._do("COMMIT")
        except BaseException:
            with suppress(Exception):  # a connection that is gone has rolled back by itself
                self._connection.rollback()
            raise

    def remember(self, name: str, *, previous: bool) -> None:
        self._do(REMEMBER, (name, int(previous)))

    def forget(self, name: str) -> None:
        self._do(FORGET, (name,))

    def value(self) -> bool:
        return bool(self._do(f"SELECT @@GLOBAL.{TRUST}")[0][0])

    def set(self, value: bool) -> None:
        """Takes effect at once, whatever becomes of the transaction."""
        self._do(f"SET GLOBAL {TRUST} = {int(value)}")

    def _do(self, statement: str, parameters: tuple[object, ...] | None = None) -> list[tuple[Any, ...]]:
        schema = self.database.claims_schema
        text = statement.format(table=f"`{schema}`.`log_bin_trust`", schema=schema, server=SERVER)
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(text, parameters)
            return list(cursor.fetchall())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import MySQLdb

        try:
            yield
        except MySQLdb.Error as error:
            code = error.args[0] if error.args else 0
            if code in LOST_RACE:
                raise _LostRaceError from error
            if code in NO_SUCH_TABLE:
                raise _NoTableError from error
            raise UnreachableError(
                f"{TRUST} cannot be set or put back over connection {self.database.connection}: {error}.",
                expected="a login that may set it, and may keep what it was in a table beside the claims.",
                safe="this step has not begun to change the schema.",
                next_step="correct the connection or its grants, then clear this task.",
            ) from error
