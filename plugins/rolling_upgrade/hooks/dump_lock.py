"""No dump beside a phase: one lock in the database server, which both need.

A dump has it for as long as it is written and proven, a phase while it begins; a phase that runs is seen as a unit.
So neither can begin beside the other, whatever is cleared or retried on whatever worker. The lock belongs to a
session: it is free once its owner is dead, and not before. It is one server's own: the connection must lead to the one
that takes the writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.fleet.inventory import Database
from rolling_upgrade.hooks.sql import SqlSession, sql_session

WAIT_SECONDS = 3
"""What an ended worker held is free within a moment; a phase has it for a moment."""
READING = "SELECT /*!40001 SQL_NO_CACHE */%"
"""How the dump tools begin to read a table."""


class DumpLock:
    """The lock while it is held."""

    def __init__(self, session: SqlSession, name: str) -> None:
        self.session = session
        self._name = name

    def check(self) -> None:
        """Raise VerifyError when it was lost, as by a server that closed the session."""
        import MySQLdb

        try:
            held = self.session.value("SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", self._name) == 1
        except MySQLdb.Error:
            held = False  # the session is gone, and the lock with it
        if not held:
            raise VerifyError(
                "the lock that keeps phases of the database from beginning was lost meanwhile.",
                expected="that it was held until the dump had ended.",
                safe="the schema was not changed by this step, and no dump was kept.",
                next_step="clear this task: it dumps again.",
            )


@contextmanager
def dump_lock(database: Database) -> Iterator[DumpLock]:
    """Hold the lock. Raises PrecheckError, naming who has it, when it is not free within a moment."""
    with sql_session(database.connection) as session:
        name = f"rolling_upgrade:{database.name}"[:64]
        if session.value("SELECT GET_LOCK(%s, %s)", name, WAIT_SECONDS) != 1:
            raise _under_way(session, database, str(session.value("SELECT IS_USED_LOCK(%s)", name)))
        yield DumpLock(session, name)


@contextmanager
def no_dump_runs(database: Database) -> Iterator[None]:
    """While the block lasts no dump of this database runs or begins. Raises PrecheckError while one does."""
    with dump_lock(database) as lock:
        # One by another hand has no lock; one whose owner was killed may still wait in the server for a table.
        reading = lock.session.value(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = %s AND INFO LIKE %s", database.name, READING
        )
        if reading is not None:
            raise _under_way(lock.session, database, str(reading))
        yield


def _under_way(session: SqlSession, database: Database, owner: str) -> PrecheckError:
    host = session.value("SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = %s", owner)
    return PrecheckError(
        f"a dump or a restore of {database.name}, or the beginning of a phase, is under way: session {owner} from "
        f"{host or 'nowhere any more'}.",
        expected="that every dump has ended before the schema changes, and the other way round.",
        safe="this step has not begun; the schema was not changed.",
        next_step=f"wait for its end, or, where the machine that ran it is gone for good, say `KILL {owner};` on the "
        "database server; then clear this task.",
    )
