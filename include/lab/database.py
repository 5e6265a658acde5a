"""The lab's MariaDB: its own data directory, port and users; nothing of a MariaDB of the host is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from include.lab import access, cgroups, templates
from include.lab.commands import run, spawn
from include.lab.errors import LabError
from include.lab.settings import (
    DATABASE_NAME,
    DATABASE_OPERATOR_USER,
    DATABASE_PORT,
    DATABASE_SERVICE_USER,
    DATABASE_UID,
    HOST_ADDRESS,
    RUNTIME,
    LabSettings,
)
from include.lab.waiting import until

GROUP = "database"
SOCKET = RUNTIME / "database" / "mariadb.sock"
START_SECONDS = 60.0


def _directory(settings: LabSettings) -> Path:
    return settings.state / "database"


def _configuration(settings: LabSettings) -> Path:
    return _directory(settings) / "mariadb.cnf"


def _as_own_user(*command: str | Path) -> list[str | Path]:
    # A number without an account: MariaDB must not be root, and the host's accounts are not the lab's to change.
    identity = [f"--reuid={DATABASE_UID}", f"--regid={DATABASE_UID}", "--clear-groups"]
    return ["setpriv", *identity, "--", *command]


def create(settings: LabSettings) -> None:
    """An empty data directory. The server must not run."""
    directory = _directory(settings)
    shutil.rmtree(directory, ignore_errors=True)
    data = directory / "data"
    data.mkdir(parents=True)
    os.chown(data, DATABASE_UID, DATABASE_UID)
    _configuration(settings).write_text(
        templates.render("mariadb.cnf", datadir=data, socket=SOCKET, port=DATABASE_PORT, host_address=HOST_ADDRESS)
    )
    run(
        _as_own_user(
            "mariadb-install-db", f"--defaults-file={_configuration(settings)}", "--skip-test-db", "--force",
            "--auth-root-authentication-method=socket", "--auth-root-socket-user=root",
        )
    )  # fmt: skip


def start(settings: LabSettings) -> None:
    """Start the server unless it answers already, and wait until it does. Raises LabError."""
    if answers():
        return
    cgroups.kill(GROUP)
    SOCKET.parent.mkdir(parents=True, exist_ok=True)
    os.chown(SOCKET.parent, DATABASE_UID, DATABASE_UID)
    spawn(
        _as_own_user("/usr/sbin/mariadbd", f"--defaults-file={_configuration(settings)}"),
        group=GROUP,
        log=settings.logs / "database.log",
    )
    until(answers, f"MariaDB to answer (log: {settings.logs / 'database.log'})", seconds=START_SECONDS)


def statements(settings: LabSettings) -> str:
    """SQL that makes the schema and both users; running it again changes nothing."""
    known = access.passwords(settings)
    service, operator = f"'{DATABASE_SERVICE_USER}'@'%'", f"'{DATABASE_OPERATOR_USER}'@'%'"
    # Where a dump is proven. An underscore in a grant stands for any character unless it is escaped.
    scratch = f"{DATABASE_NAME}_restore_check".replace("_", r"\_")
    return f"""
        CREATE DATABASE IF NOT EXISTS {DATABASE_NAME} CHARACTER SET utf8mb3;
        CREATE USER IF NOT EXISTS {service} IDENTIFIED BY '{known.service}';
        CREATE USER IF NOT EXISTS {operator} IDENTIFIED BY '{known.operator}';
        GRANT ALL ON {DATABASE_NAME}.* TO {service};
        GRANT PROCESS ON *.* TO {operator};
        GRANT SELECT, LOCK TABLES, TRIGGER, EVENT, SHOW VIEW ON {DATABASE_NAME}.* TO {operator};
        GRANT SELECT ON mysql.proc TO {operator};
        GRANT CREATE, DROP, ALTER, SELECT, INSERT, REFERENCES, LOCK TABLES, TRIGGER, EVENT, CREATE VIEW,
            CREATE ROUTINE, ALTER ROUTINE ON `{scratch}`.* TO {operator};
        GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON rolling_upgrade.* TO {operator};
    """


def make_users(settings: LabSettings) -> None:
    query(statements(settings))


def query(sql: str) -> list[str]:
    """Run SQL as root through the socket; returns the rows, their columns separated by tabs. Raises LabError."""
    client = ["mariadb", "--no-defaults", "--batch", "--skip-column-names", f"--socket={SOCKET}", "--user=root"]
    return run(client, stdin=sql, seconds=30).stdout.splitlines()


def answers() -> bool:
    """True if the server of the lab takes a query."""
    if not SOCKET.exists() or not cgroups.alive(GROUP):
        return False
    client = ["mariadb", "--no-defaults", f"--socket={SOCKET}", "--user=root", "--connect-timeout=1"]
    try:
        return run([*client, "--execute=SELECT 1"], seconds=1.2, check=False).returncode == 0
    except LabError:  # it hangs
        return False


def heads() -> list[str]:
    """The schema's Alembic revisions; empty for a schema that was not made yet."""
    table = query(f"SHOW TABLES FROM {DATABASE_NAME} LIKE 'alembic_version'")
    return sorted(query(f"SELECT version_num FROM {DATABASE_NAME}.alembic_version")) if table else []  # noqa: S608
