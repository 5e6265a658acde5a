"""The server's own command-line tools on this machine: ``mariadb-dump`` and ``mariadb``, or MySQL's.

A command line is public, so the login goes through a file that only this user can read.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from airflow.sdk import BaseHook

from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.hooks.connections import usable

DUMP = ("mariadb-dump", "mysqldump")
CLIENT = ("mariadb", "mysql")
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""What reads or writes the database for a step must not go on without the step."""

Login = Mapping[str, object]


def login_of(connection_id: str) -> Login:
    """Host, port, user and password of an Airflow connection. Raises PrecheckError."""
    with usable(connection_id):
        connection = BaseHook.get_connection(connection_id)
    return {
        "host": connection.host,
        "port": connection.port or 3306,
        "user": connection.login,
        "password": connection.password,
    }


def tool(names: tuple[str, ...]) -> str:
    """The first of these programs that is there. Raises PrecheckError."""
    for name in names:
        if shutil.which(name):
            return name
    raise PrecheckError(
        f"neither {' nor '.join(names)} is on this worker.",
        expected="the client of MariaDB or MySQL where backups are made.",
        safe="nothing was changed.",
        next_step="install it (Debian: mariadb-client), then clear this task.",
    )


def knows(program: str, option: str) -> bool:
    """Whether the program's help tells of that option; versions and makers differ."""
    told = subprocess.run([program, "--no-defaults", "--help"], capture_output=True, text=True, check=False).stdout
    return any(line.strip().startswith(option) or f" {option}" in line for line in told.splitlines())


def version(program: str) -> str:
    told = subprocess.run([program, "--no-defaults", "--version"], capture_output=True, text=True, check=False)
    return told.stdout.strip()


@contextmanager
def option_file(login: Login) -> Iterator[str]:
    """The argument that names a file with the login, for as long as the block lasts."""
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as options:
        options.write("[client]\n")
        options.writelines(f'{key}="{_quoted(str(value))}"\n' for key, value in login.items())
        options.flush()
        yield f"--defaults-file={options.name}"


def _quoted(value: str) -> str:
    """A value between double quotes in an option file, with MySQL's escapes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
