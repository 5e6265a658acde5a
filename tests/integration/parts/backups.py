"""The backup step as the tests run it: a small schema, a folder for dumps, tools that fail when they are told to."""

# ruff: noqa: S608 - every word of these statements is the tests' own

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from rolling_upgrade.operators.backup import BackupDatabaseOperator
from tests.integration.parts.fleets import NAME, RUN, SCHEMA, context, write_fleet
from tests.integration.parts.mariadb import SCRATCH, MariaDB
from tests.integration.parts.processes import END_SECONDS, SEARCH, program

ROWS = 1000
# What could be taken for the end of a row, of a statement, or of the dump.
TRICKY = ("),(", "');\nINSERT INTO `images` VALUES (1,'x');\n", "\\',(", "-- Dump completed\n", "DELIMITER ;;\n", "\\")
SMALL = (
    "CREATE TABLE images (id INT PRIMARY KEY, name VARCHAR(64), data BLOB, note TEXT)",
    "CREATE TABLE log (id INT)",
    "CREATE TABLE `odd ``name (1)` (id INT PRIMARY KEY, twice INT AS (id * 2) STORED)",
    "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
    "INSERT INTO images SELECT seq, CONCAT('Grüße ', seq), UNHEX('00ff27'), NULL FROM seq_1_to_" + str(ROWS),
    *(
        f"UPDATE images SET note = X'{text.encode().hex()}' WHERE id % {len(TRICKY) + 1} = {at}"
        for at, text in enumerate(TRICKY)
    ),
    "INSERT INTO `odd ``name (1)` (id) VALUES (1), (2), (3)",
    "INSERT INTO alembic_version VALUES ('head_b'), ('head_a')",
    "CREATE TRIGGER on_image AFTER INSERT ON images FOR EACH ROW INSERT INTO log VALUES (NEW.id)",
    "CREATE PROCEDURE sweep() DELETE FROM log",
    "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO CALL sweep()",
    "CREATE VIEW names AS SELECT name FROM images",
)
SMALL_ROWS = {"images": ROWS, "log": 0, "odd `name (1)": 3, "alembic_version": 2}
STORED = {"triggers": 1, "routines": 1, "events": 1, "views": 1}


class Backup:
    """The step, with a folder for its dumps; ``settings`` are further lines of the fleet file's ``backup``."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.directory = folder
        self.folder = folder / NAME
        self.has(**settings)

    def has(self, **settings: object) -> None:
        """From now on the fleet file says so."""
        self.fleet = write_fleet(
            self.directory.parent / "fleets", backup={"directory": str(self.directory), **settings}
        )

    def __call__(self, run: str = RUN) -> dict[str, Any]:
        asked = context(self.fleet)
        asked["ti"].run_id = run
        return BackupDatabaseOperator(task_id="backup_database", fleet=NAME).execute(asked)

    @contextmanager
    def elsewhere(self) -> Iterator[BaseProcess]:
        """The step in a process of its own, begun, killed at the end."""
        process = multiprocessing.get_context("fork").Process(target=self)
        process.start()
        try:
            yield process
        finally:
            kill(process)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []

    def dumps(self) -> list[str]:
        return [name for name in self.files() if name.endswith(".sql.gz")]


def kill(process: BaseProcess) -> None:
    """End it as the kernel does when memory runs out, and see it gone."""
    process.kill()
    process.join(END_SECONDS)
    assert not process.is_alive()


def manifest_of(record: dict[str, Any]) -> dict[str, Any]:
    """What stands beside the dump of a record."""
    found: dict[str, Any] = json.loads(Path(f"{record['path']}.json").read_text())
    return found


class Tools:
    """What is on PATH before the system's own programs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        self._patch = monkeypatch
        self.patch_path(f"{folder}:{SEARCH}")

    def patch_path(self, path: str) -> None:
        self._patch.setenv("PATH", path)

    def script(self, name: str, body: str) -> None:
        """A shell script in place of that program; ``$real`` is the program itself."""
        path = self.folder / name
        path.write_text(f"#!/bin/bash\nreal={program(name, 'mariadb-client')}\n{body}\n")
        path.chmod(0o755)

    def held(self, name: str) -> Path:
        """From now on that program waits, for ever, before it does anything; the file is there once it does."""
        waiting = self.folder / f"{name}.waiting"
        waiting.unlink(missing_ok=True)
        self.script(
            name, f'case "$*" in *--help|*--version) exec "$real" "$@";; esac\ntouch {waiting}\nexec sleep 1000'
        )
        return waiting

    def free(self, name: str) -> None:
        (self.folder / name).unlink()

    def only(self, *names: str) -> None:
        """Nothing is on PATH but these programs."""
        folder = self.folder / "only"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name, path=SEARCH) or pytest.fail(f"{name} is not installed"))
        self.patch_path(str(folder))


def schemas(database: MariaDB) -> set[str]:
    return {row[0] for row in database.run("SHOW DATABASES")}


def fingerprint(database: MariaDB, schema: str = SCHEMA) -> dict[str, Any]:
    """All of a schema that a restore must bring back: each table's rows as a checksum, and what is stored beside."""
    tables = database.run(
        f"SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{schema}'"
    )
    found: dict[str, Any] = {name: kind for name, kind in tables if kind != "BASE TABLE"}
    for name in (name for name, kind in tables if kind == "BASE TABLE"):
        quoted = name.replace("`", "``")
        found[name] = database.run(f"CHECKSUM TABLE `{schema}`.`{quoted}`")[0][1]
    for kind, columns in (
        ("TRIGGERS", "TRIGGER_NAME, ACTION_STATEMENT, DEFINER"),
        ("ROUTINES", "ROUTINE_NAME, ROUTINE_DEFINITION, DEFINER"),
        ("EVENTS", "EVENT_NAME, EVENT_DEFINITION, STATUS"),
    ):
        place = {"TRIGGERS": "TRIGGER", "ROUTINES": "ROUTINE", "EVENTS": "EVENT"}[kind]
        found[kind] = database.run(
            f"SELECT {columns} FROM information_schema.{kind} WHERE {place}_SCHEMA = '{schema}' ORDER BY 1"
        )
    return found


def nothing_was_changed(database: MariaDB, backup: Backup, before: dict[str, Any]) -> None:
    """The schema is as it was, no scratch schema is left, and no file was kept."""
    assert fingerprint(database) == before
    assert SCRATCH not in schemas(database)
    assert backup.files() == []
