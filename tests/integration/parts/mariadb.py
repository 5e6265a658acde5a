"""A real MariaDB on loopback with a data directory of its own; whoever runs the tests may do all there."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.parts.fleets import SCHEMA
from tests.integration.parts.processes import SEARCH, free_port, listens, program, running

PACKAGE = "mariadb-server-core"


@dataclass(frozen=True)
class Login:
    """A user of the database and its password."""

    name: str
    password: str


# What an option file, a shell and a log could each trip over.
OPERATOR = Login("upgrade", "Op3r#ator \"pass'\\word;$HOME%")
SERVICE = Login("glance", "s3rvice-password")
CLAIMS_GRANT = "GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON rolling_upgrade.* TO {user}"
SCRATCH = f"{SCHEMA}_restore_check"
SCRATCH_PRIVILEGES = (
    "CREATE", "DROP", "ALTER", "SELECT", "INSERT", "REFERENCES", "LOCK TABLES", "TRIGGER", "EVENT",
    "CREATE VIEW", "CREATE ROUTINE", "ALTER ROUTINE",
)  # fmt: skip
# In a grant an underscore stands for any character unless it is escaped.
SCRATCH_GRANT = "GRANT {privileges} ON `{escaped}`.* TO {{user}}".replace("{escaped}", SCRATCH.replace("_", "\\_"))
OPERATOR_GRANTS = (
    "GRANT PROCESS ON *.* TO {user}",
    "GRANT SELECT, LOCK TABLES, TRIGGER, EVENT, SHOW VIEW ON {schema}.* TO {user}",
    "GRANT SELECT ON mysql.proc TO {user}",
    CLAIMS_GRANT,
    SCRATCH_GRANT.format(privileges=", ".join(SCRATCH_PRIVILEGES)),
)

TRUST_GRANT = "GRANT BINLOG ADMIN ON *.* TO {user}"
BINARY_LOG = ("--log-bin=binlog", "--server-id=1")
"""Options of a server that writes one."""


class MariaDB:
    """One server. ``port`` takes TCP; ``run`` goes through the socket and may do all."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._options = options or ("--skip-log-bin",)
        self.port = free_port()
        self.socket = folder / "db.sock"
        self._folder = folder

    def connect(self, login: Login | None = None, schema: str = "", *, local: bool = False) -> Any:
        """A connection: over the socket as whoever runs the tests and may do all, or over TCP as that user.

        ``local`` takes the socket for that user too: the server then says that it comes from localhost.
        """
        import MySQLdb

        if login is None or local:
            user, password = (login.name, login.password) if login else (getpass.getuser(), "")
            return MySQLdb.connect(
                unix_socket=str(self.socket), user=user, password=password, database=schema, autocommit=True
            )
        return MySQLdb.connect(
            host="127.0.0.1", port=self.port, user=login.name, password=login.password, database=schema, autocommit=True
        )

    def connection(self, login: Login, *, port: int | None = None) -> dict[str, object]:
        """An Airflow connection to it for that user."""
        return {
            "conn_type": "mysql",
            "host": "127.0.0.1",
            "port": port or self.port,
            "login": login.name,
            "password": login.password,
            "schema": SCHEMA,
        }

    def run(self, *statements: str, schema: str = "") -> list[tuple[Any, ...]]:
        """Run statements; returns the rows of the last."""
        connection = self.connect(schema=schema)
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())
        finally:
            connection.close()

    def at(self, *revisions: str) -> None:
        """Let the schema be at these revisions."""
        connection = self.connect(schema=SCHEMA)
        try:
            cursor = connection.cursor()
            cursor.execute("CREATE OR REPLACE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
            cursor.executemany("INSERT INTO alembic_version VALUES (%s)", [(revision,) for revision in revisions])
        finally:
            connection.close()

    def user(self, login: Login, schema: str, *grants: str) -> None:
        """A user with these grants and no others."""
        name = f"'{login.name}'@'%'"
        connection = self.connect()
        try:
            connection.cursor().execute("CREATE OR REPLACE USER %s@'%%' IDENTIFIED BY %s", (login.name, login.password))
        finally:
            connection.close()
        self.run(*(grant.format(user=name, schema=schema) for grant in grants))

    def create(self) -> None:
        """An empty data directory. Fails with the tool's own words."""
        command = [
            program("mariadb-install-db", PACKAGE), "--no-defaults", f"--datadir={self._folder / 'data'}",
            f"--user={getpass.getuser()}", "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={getpass.getuser()}", "--skip-test-db", "--skip-name-resolve",
        ]  # fmt: skip
        # Of its own: a server that starts removes the temporary tables of every other one from a shared folder.
        environment = {"PATH": SEARCH, "TMPDIR": str(self._folder)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            pytest.fail(f"mariadb-install-db ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def command(self) -> list[str]:
        return [
            program("mariadbd", PACKAGE), "--no-defaults", f"--datadir={self._folder / 'data'}",
            f"--user={getpass.getuser()}", f"--socket={self.socket}", f"--pid-file={self._folder / 'db.pid'}",
            "--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve", *self._options,
            "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--character-set-server=utf8mb4",
            f"--tmpdir={self._folder}",
        ]  # fmt: skip


@contextmanager
def mariadb(folder: Path, *options: str) -> Iterator[MariaDB]:
    """A server for as long as the block lasts; without options it has no binary log."""
    database = MariaDB(folder, *options)
    database.create()
    with running(database.command(), folder / "mariadbd.log") as server:
        server.until(lambda: database.socket.exists() and listens(database.port), "MariaDB", seconds=30)
        yield database
