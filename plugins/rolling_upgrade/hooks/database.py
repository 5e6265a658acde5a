"""The service's database: schema revisions, sessions, server version. Reads only."""

from __future__ import annotations

from contextlib import closing
from typing import Self

from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet.inventory import Database
from rolling_upgrade.hooks.connections import usable
from rolling_upgrade.services.configuration import ServiceLogin


class DatabaseHook:
    """The database as the operator's login sees it."""

    def __init__(self, database: Database) -> None:
        from airflow.providers.mysql.hooks.mysql import MySqlHook

        self.database = database
        # Statements are not logged: the steps say what they found in their own words.
        with usable(database.connection):
            self._mysql = MySqlHook(mysql_conn_id=database.connection, log_sql=False)
            self._mysql.get_connection(database.connection)

    @classmethod
    def of_service(cls, database: Database) -> Self:
        """The database as the service's own login sees it: everything in its schema."""
        return cls(database.model_copy(update={"connection": database.service_connection}))

    def heads(self) -> tuple[str, ...]:
        """Alembic revisions that the schema is at. Raises UnreachableError."""
        return tuple(sorted(str(row[0]) for row in self._rows("SELECT version_num FROM alembic_version")))

    def server_version(self) -> str:
        """As the server tells it, for example ``10.11.14-MariaDB``."""
        return str(self._rows("SELECT VERSION()")[0][0])

    def stored_objects(self) -> dict[str, int]:
        """How many tables, triggers, routines, events and views the schema has, as far as this login may see them."""
        tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_TYPE IN "
        counts = {
            "tables": f"{tables} ('BASE TABLE', 'SYSTEM VERSIONED')",
            "views": f"{tables} ('VIEW')",
            "triggers": "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s",
            "routines": "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s",
            "events": "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s",
        }
        return {kind: int(str(self._rows(asked, (self.database.name,))[0][0])) for kind, asked in counts.items()}

    def count(self, statement: str) -> int:
        """The one number that a constant statement of a service's profile asks for, without waiting for any lock.

        Raises UnreachableError.
        """
        import MySQLdb

        try:
            with closing(self._mysql.get_conn()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
                cursor.execute(statement)
                return int(cursor.fetchone()[0])
        except MySQLdb.Error as error:
            raise self._silent(error) from error

    def session_hosts(self, user: str) -> tuple[str, ...]:
        """Hosts (without ports) from which that user is connected now.

        Raises UnreachableError too when this login is not shown the sessions of others: none seen would prove nothing.
        """
        if not any(shows_all_sessions(str(row[0])) for row in self._rows("SHOW GRANTS")):
            raise UnreachableError(
                f"the login of connection {self.database.connection} is shown no sessions but its own.",
                expected="the privilege PROCESS, which shows the sessions of every user.",
                safe="nothing was changed; sessions that cannot be seen count as sessions of an old service.",
                next_step="`GRANT PROCESS ON *.* TO` that login, then clear this task.",
            )
        rows = self._rows("SELECT HOST FROM information_schema.PROCESSLIST WHERE USER = %s", (user,))
        return tuple(str(row[0]).rsplit(":", 1)[0] for row in rows)

    def _rows(self, statement: str, parameters: tuple[str, ...] = ()) -> list[tuple[object, ...]]:
        import MySQLdb

        try:
            return list(self._mysql.get_records(statement, parameters=parameters) or [])
        except MySQLdb.Error as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"the database of connection {self.database.connection} cannot be asked: {error}.",
            expected="an answer to a plain SELECT.",
            safe="nothing was changed; the fleet serves as before this step.",
            next_step="bring the database back or correct the connection and its grants, then clear this task.",
        )


def shows_all_sessions(grant: str) -> bool:
    """Whether a line of SHOW GRANTS gives the privilege to see every session."""
    privileges, found, _ = grant.removeprefix("GRANT ").partition(" ON *.* TO ")
    return bool(found) and not {"PROCESS", "ALL PRIVILEGES"}.isdisjoint(privileges.split(", "))


def rows_left(database: Database, statement: str) -> int:
    """Rows that a data migration has still to move, as a profile asks for them; 0 where it has no question.

    Raises UnreachableError.
    """
    return DatabaseHook.of_service(database).count(statement) if statement else 0


def service_login(database: Database) -> ServiceLogin:
    """How the service itself logs in, from the connection that the fleet file names."""
    from airflow.sdk import BaseHook

    with usable(database.service_connection):
        connection = BaseHook.get_connection(database.service_connection)
    return ServiceLogin(
        login=str(connection.login),
        password=str(connection.password),
        host=str(connection.host),
        port=int(connection.port or 3306),
        name=database.name,
    )
