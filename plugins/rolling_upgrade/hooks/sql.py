"""One session of the operator's login, for what must be said and held over one connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.hooks.connections import usable

NO_SCHEMA = "information_schema"
"""A session in it waits for no table of the service, is in nobody's way, and needs no schema to be there."""

IDLE_SECONDS = 30 * 24 * 3600


class SqlSession:
    """Statements over one connection, each a transaction of its own. Errors are those of MySQLdb."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            # Without parameters nothing is filled in, so that a % stands for itself.
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())

    def value(self, statement: str, *parameters: object) -> Any:
        """The first column of the first row; None without a row."""
        found = self.rows(statement, *parameters)
        return found[0][0] if found else None


def open_connection(connection_id: str, **options: Any) -> Any:
    """A connection of the operator's login; each statement is a transaction of its own. The caller closes it.

    ``options`` are those of MySqlHook. Raises PrecheckError for a connection that cannot be used, MySQLdb.Error.
    """
    from airflow.providers.mysql.hooks.mysql import MySqlHook

    with usable(connection_id):
        hook = MySqlHook(mysql_conn_id=connection_id, log_sql=False, **options)
        hook.connection = hook.get_connection(connection_id)
    connection = hook.get_conn()
    hook.set_autocommit(connection, True)
    return connection


@contextmanager
def sql_session(connection_id: str) -> Iterator[SqlSession]:
    """A session for as long as the block lasts. Raises PrecheckError for a connection that cannot be used.

    Whatever the server says against a statement inside is raised as UnreachableError.
    """
    import MySQLdb

    try:
        connection = open_connection(connection_id, schema=NO_SCHEMA)
        session = SqlSession(connection)
        try:
            # It says nothing for as long as a dump takes; the server must not take it for forgotten.
            session.rows("SET SESSION wait_timeout = %s", IDLE_SECONDS)
            yield session
        finally:
            connection.close()
    except MySQLdb.Error as error:
        raise UnreachableError(
            f"the database of connection {connection_id} cannot be asked: {error}.",
            expected="an answer, with the grants that the README lists for this login.",
            safe="the schema of the service was not changed by this question.",
            next_step="bring the database back or correct the connection and its grants, then try again.",
        ) from error


def quoted(name: str) -> str:
    """An identifier of SQL."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A text as SQL writes it, for a statement that a person pastes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
