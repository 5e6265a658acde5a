"""A consistent dump of the database before its schema changes."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from airflow.sdk import BaseHook

from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.fleet.inventory import Fleet, load_named
from rolling_upgrade.operators.step import FleetOperator

DUMP = (
    "mariadb-dump", "--single-transaction", "--routines", "--triggers", "--events", "--hex-blob",
)  # fmt: skip
LAST_LINE = b"-- Dump completed"


class BackupDatabaseOperator(FleetOperator):
    """Dump into the fleet's backup directory, under a name of this run; whole and checksummed, or not there.

    Repeated in the same run it finds its dump, checks it, and leaves it. Raises VerifyError.
    """

    def execute(self, context: Any) -> Record:
        fleet = load_named(self.fleet)
        run = re.sub(r"[^A-Za-z0-9]+", "-", str(context["run_id"])).strip("-")
        path = Path(fleet.backup.directory) / f"{fleet.name}-{fleet.database.name}-{run}.sql.gz"
        sidecar = Path(f"{path}.sha256")
        if path.is_file() and sidecar.is_file() and sidecar.read_text().split()[0] == _checksum(path):
            return self.say(record("the dump of this run is there and whole", changed=False, path=str(path)))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(f"{path}.partial")
        try:
            self._dump(fleet, partial)
            _must_be_complete(partial)
            checksum = _checksum(partial)
            sidecar.write_text(f"{checksum}  {path.name}\n")
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
        size = path.stat().st_size
        did = f"dumped {fleet.database.name} to {path.name}, {size} bytes, sha256 {checksum}"
        return self.say(record(did, changed=True, path=str(path), bytes=size, sha256=checksum))

    def _dump(self, fleet: Fleet, target: Path) -> None:
        connection = BaseHook.get_connection(fleet.database.connection)
        # The login goes through a file that only this user can read: a command line is public.
        with tempfile.NamedTemporaryFile("w", suffix=".cnf") as login:
            login.write("[client]\n")
            for key, value in {
                "host": connection.host,
                "port": connection.port or 3306,
                "user": connection.login,
                "password": connection.password,
            }.items():
                login.write(f'{key}="{_option(str(value))}"\n')
            login.flush()
            command = [DUMP[0], f"--defaults-file={login.name}", *DUMP[1:], fleet.database.name]
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with (
                os.fdopen(descriptor, "wb") as raw,
                gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=5) as out,
                tempfile.TemporaryFile() as errors,
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as dump,
            ):
                assert dump.stdout is not None  # noqa: S101 - it was asked for
                while chunk := dump.stdout.read(1 << 20):
                    out.write(chunk)
                status = dump.wait()
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()
        if status != 0:
            raise _failed(f"{DUMP[0]} ended with {status}: {said[-800:]}")


def _must_be_complete(path: Path) -> None:
    last = b""
    with gzip.open(path, "rb") as file:
        for line in file:
            last = line.strip() or last
    if not last.startswith(LAST_LINE):
        raise _failed(f"the dump ends with {last[-80:]!r}")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _option(value: str) -> str:
    """A value between double quotes in an option file, with MySQL's escapes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _failed(why: str) -> VerifyError:
    return VerifyError(
        f"the backup did not succeed: {why}.",
        expected="a complete dump, its last line being `-- Dump completed`.",
        safe="nothing was changed; the fleet serves as before.",
        next_step="mend the cause (login, grants, space in the backup directory), then clear this task.",
    )
