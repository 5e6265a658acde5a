"""Which run holds a fleet: a row in the fleet's own database server, where every Airflow that works on it looks.

The key is the service's database, which two installations never share, whatever a fleet file calls them. Inserting it
is the claim; taking over compares and sets. Of several runs at once, on Galera's nodes too, one has it and the others
see that they have not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from rolling_upgrade.decisions.claims import Decision, Holder, RunState, decide, is_asked, refusal
from rolling_upgrade.errors import PrecheckError, RollingUpgradeError, UnreachableError
from rolling_upgrade.fleet.inventory import Database, Fleet
from rolling_upgrade.hooks.sql import literal, open_connection

ROUNDS = 5
"""How often a run that lost a race looks again who has won it."""
NO_SUCH_TABLE = frozenset({1049, 1146})
ACCESS_DENIED = frozenset({1044, 1142})
LOST_RACE = frozenset({1020, 1062, 1205, 1213})
"""The row has changed, is there already, stayed locked, or a deadlock: Galera's word for a write that came second."""
MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    database_name VARCHAR(64) PRIMARY KEY, airflow VARCHAR(255) NOT NULL, dag_id VARCHAR(255) NOT NULL,
    run_id VARCHAR(255) NOT NULL, since DATETIME(6) NOT NULL COMMENT 'UTC'
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""
HOLDER = "SELECT airflow, dag_id, run_id FROM {table} WHERE database_name = %s"
CLAIM = "INSERT INTO {table} VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6))"
TAKE_OVER = """
UPDATE {table} SET airflow = %s, dag_id = %s, run_id = %s, since = UTC_TIMESTAMP(6)
WHERE database_name = %s AND airflow = %s AND dag_id = %s AND run_id = %s
"""
RELEASE = "DELETE FROM {table} WHERE database_name = %s AND airflow = %s AND dag_id = %s AND run_id = %s"


def this_run(ti: Any) -> Holder:
    """The run of a task instance, on a worker or in the triggerer."""
    from airflow.sdk.configuration import conf

    url = conf.get("api", "base_url", fallback=None)
    return Holder((url or "").rstrip("/"), ti.dag_id, ti.run_id)


def hold(fleet: Fleet, me: Holder) -> Decision:
    """Make sure that this run holds the fleet: it does already, or claims it now.

    Raises HeldError, naming the run that has it; PrecheckError without the grants; UnreachableError.
    """
    with Claims(fleet.database).connected() as claims:
        for _ in range(ROUNDS):
            holder = claims.holder()
            state = _state(holder, me)
            decision = decide(holder, me, state)
            if decision is Decision.MINE or (decision is Decision.CLAIM and claims.claim(me)):
                return decision
            if holder and decision is Decision.TAKE_OVER and claims.take_over(holder, me):
                # Cleared since it was asked for, it may have seen itself hold the fleet a moment ago.
                if _state(holder, me) is not RunState.ALIVE:
                    return decision
                claims.take_over(me, holder)
            if holder and decision is Decision.REFUSE:
                raise refusal(fleet.name, holder, me, state, claims.release_statement(holder))
    raise PrecheckError(
        f"fleet {fleet.name} was claimed and released by others {ROUNDS} times while this run asked for it.",
        expected="one run at a time that asks for the fleet.",
        safe="this step has changed nothing.",
        next_step="see which runs work on this fleet, then clear this task.",
    )


def other_holder(fleet: Fleet, me: Holder) -> Holder | None:
    """The run that would be named if this one asked for the fleet now. Changes nothing.

    Raises PrecheckError without the grants, UnreachableError.
    """
    with Claims(fleet.database).connected() as claims:
        holder = claims.holder()
    return holder if decide(holder, me, _state(holder, me)) is Decision.REFUSE else None


def refuse_other_holder(fleet: Fleet, me: Holder) -> None:
    """Raise HeldError, naming the run that holds the fleet, where another one does. Changes nothing.

    Raises PrecheckError without the grants, UnreachableError.
    """
    with Claims(fleet.database).connected() as claims:
        holder = claims.holder()
        state = _state(holder, me)
        if holder and decide(holder, me, state) is Decision.REFUSE:
            raise refusal(fleet.name, holder, me, state, claims.release_statement(holder))


def release(fleet: Fleet, me: Holder) -> bool:
    """Let the next run have the fleet; False when this run did not hold it. Raises as ``hold`` does."""
    with Claims(fleet.database).connected() as claims:
        return claims.release(me)


def _state(holder: Holder | None, me: Holder) -> RunState:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if holder is None or not is_asked(holder, me):
        return RunState.ELSEWHERE

    # Counted, since asking for the state of a run that was deleted is an error like any other of the api-server.
    def is_in(*states: str) -> bool:
        count = RuntimeTaskInstance.get_dr_count(holder.dag_id, run_ids=[holder.run_id], states=list(states))
        return int(count) > 0

    if is_in("queued", "running"):
        return RunState.ALIVE
    return RunState.OVER if is_in("success", "failed") else RunState.MISSING


class _NoTableError(Exception):
    """Nobody has claimed anything in this server yet."""


class Claims:
    """The row of one database, over one connection of the operator's login."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.table = f"`{database.claims_schema}`.`claims`"
        self._connection: Any = None

    @contextmanager
    def connected(self) -> Iterator[Self]:
        with self._errors():
            # Each statement is a transaction of its own: a claim is made, or not, when the server answers.
            self._connection = open_connection(self.database.connection)
        try:
            yield self
        finally:
            self._connection.close()

    def holder(self) -> Holder | None:
        try:
            rows, _ = self._do(HOLDER, self._key)
        except _NoTableError:
            return None
        return Holder(*map(str, rows[0])) if rows else None

    def claim(self, me: Holder) -> bool:
        """Claim what nobody holds; False when another run was first. Makes schema and table where they are missing."""
        try:
            return self._do(CLAIM, (*self._key, *_fields(me)))[1] == 1
        except _NoTableError:
            self._do(f"CREATE SCHEMA IF NOT EXISTS `{self.database.claims_schema}`", ())
            self._do(MAKE_TABLE, ())
            return self._do(CLAIM, (*self._key, *_fields(me)))[1] == 1

    def take_over(self, old: Holder, me: Holder) -> bool:
        """Claim what a run that is over held; False when another run was first."""
        return self._do(TAKE_OVER, (*_fields(me), *self._key, *_fields(old)))[1] == 1

    def release(self, me: Holder) -> bool:
        """Let go what this run holds; False when it holds nothing."""
        try:
            return self._do(RELEASE, (*self._key, *_fields(me)))[1] == 1
        except _NoTableError:
            return False

    def release_statement(self, holder: Holder) -> str:
        """For a person to paste."""
        values = tuple(literal(value) for value in (*self._key, *_fields(holder)))
        return f"{RELEASE.format(table=self.table) % values};"

    @property
    def _key(self) -> tuple[str, ...]:
        return (self.database.name,)

    def _do(self, statement: str, parameters: tuple[str, ...]) -> tuple[list[tuple[object, ...]], int]:
        """Rows, and how many were changed: none when another run was first. Raises _NoTableError."""
        import MySQLdb

        with self._errors(), self._connection.cursor() as cursor:
            try:
                cursor.execute(statement.format(table=self.table), parameters)
            except MySQLdb.Error as error:
                if _code(error) in NO_SUCH_TABLE:
                    raise _NoTableError from error
                if _code(error) in LOST_RACE:
                    return [], 0
                raise
            return list(cursor.fetchall()), int(cursor.rowcount)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import MySQLdb

        try:
            yield
        except MySQLdb.Error as error:
            raise self._missing_grant(error) if _code(error) in ACCESS_DENIED else self._silent(error) from error

    def _missing_grant(self, error: Exception) -> RollingUpgradeError:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT CURRENT_USER()")
            user, _, host = str(cursor.fetchone()[0]).rpartition("@")
        grants = f"GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON `{self.database.claims_schema}`.*"
        return PrecheckError(
            f"the login of connection {self.database.connection} may not claim the fleet: {error}.",
            expected=f"that it can keep in schema {self.database.claims_schema} which run holds the fleet.",
            safe="this step has changed nothing.",
            next_step=f"clear this task after the database's administrator has said: "
            f"{grants} TO {literal(user)}@{literal(host)};",
        )

    def _silent(self, error: Exception) -> RollingUpgradeError:
        return UnreachableError(
            f"the database of connection {self.database.connection} cannot be asked who holds the fleet: {error}.",
            expected="an answer, before anything is changed.",
            safe="this step has changed nothing.",
            next_step="bring the database back or correct the connection, then clear this task.",
        )


def _fields(holder: Holder) -> tuple[str, str, str]:
    return holder.airflow, holder.dag_id, holder.run_id


def _code(error: Exception) -> int:
    return int(error.args[0]) if error.args and isinstance(error.args[0], int) else 0
