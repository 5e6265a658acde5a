"""A consistent dump of the database before its schema changes."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import Any

from airflow.sdk import BaseHook

from rolling_upgrade.decisions.dump import content_of, why_not_whole
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.fleet.inventory import Fleet, load_named
from rolling_upgrade.hooks.claims import hold, this_run
from rolling_upgrade.hooks.connections import usable
from rolling_upgrade.hooks.database import DatabaseHook
from rolling_upgrade.hooks.dump import write_dump
from rolling_upgrade.hooks.phase import refuse_running_phase
from rolling_upgrade.operators.step import FleetOperator
from rolling_upgrade.services.registry import profile_of


class BackupDatabaseOperator(FleetOperator):
    """Dump into the fleet's backup directory, under a name of this run; whole and checksummed, or not there.

    Repeated in the same run it finds its dump, checks it, and leaves it. Raises VerifyError, and HeldError when another
    run holds the fleet.
    """

    def execute(self, context: Any) -> Record:
        fleet = load_named(self.fleet)
        hold(fleet, this_run(context["ti"]))
        run = re.sub(r"[^A-Za-z0-9]+", "-", str(context["run_id"])).strip("-")
        path = Path(fleet.backup.directory) / f"{fleet.name}-{fleet.database.name}-{run}.sql.gz"
        try:
            found = _precheck(path)
            if not found:
                refuse_running_phase(fleet, profile_of(fleet.service))
            return self.say(found or _apply(fleet, path))
        except OSError as error:
            raise _failed(str(error)) from error


def _sidecar(path: Path) -> Path:
    return Path(f"{path}.sha256")


def _precheck(path: Path) -> Record | None:
    """The record of this run's dump where it is there and whole."""
    sidecar = _sidecar(path)
    if not path.is_file() or not sidecar.is_file():
        return None
    checksum = _checksum(path)
    if sidecar.read_text(encoding="ascii").split()[:1] != [checksum]:
        return None
    return record("the dump of this run is there and whole", changed=False, **_facts(path, checksum))


def _apply(fleet: Fleet, path: Path) -> Record:
    """Dump under another name, verify, and only then give it its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(f"{path}.partial")
    try:
        status, said = write_dump(_login(fleet), fleet.database.name, partial)
        if status != 0:
            raise _failed(f"mariadb-dump ended with {status}: {said[-800:]}")
        with gzip.open(partial, "rb") as lines:
            reasons = why_not_whole(content_of(lines), DatabaseHook.of_service(fleet.database).stored_objects())
        if reasons:
            raise _failed("; ".join(reasons))
        checksum = _checksum(partial)
        _sidecar(path).write_text(f"{checksum}  {path.name}\n", encoding="ascii")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    facts = _facts(path, checksum)
    return record(f"dumped {fleet.database.name} to {path.name}, {facts['bytes']} bytes", changed=True, **facts)


def _facts(path: Path, checksum: str) -> dict[str, Any]:
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": checksum}


def _login(fleet: Fleet) -> dict[str, object]:
    with usable(fleet.database.connection):
        connection = BaseHook.get_connection(fleet.database.connection)
    return {
        "host": connection.host,
        "port": connection.port or 3306,
        "user": connection.login,
        "password": connection.password,
    }


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(why: str) -> VerifyError:
    return VerifyError(
        f"the backup did not succeed: {why}.",
        expected="a complete dump with every trigger, routine and event of the schema.",
        safe="nothing was changed; the fleet serves as before.",
        next_step="mend the cause (login, grants, mariadb-dump, space in the backup directory), then clear this task.",
    )
