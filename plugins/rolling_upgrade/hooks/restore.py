"""Restoring a dump into a schema, and what a schema holds then."""

from __future__ import annotations

import gzip
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rolling_upgrade.decisions.backups import Contents
from rolling_upgrade.decisions.dump import HEADS_TABLE
from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.hooks.client_tools import CLIENT, DIES_WITH_US, Login, option_file, tool
from rolling_upgrade.hooks.sql import SqlSession, quoted

MARK = "rolling_upgrade_scratch"
"""A table in a scratch schema that tells whose it is; nothing without it is ever dropped."""
UNLOGGED = "SET SESSION sql_log_bin = 0"
STORED = {
    "triggers": "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s",
    "routines": "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s",
    "events": "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s",
    "views": "SELECT COUNT(*) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s",
}
TABLES = (
    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s "
    "AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY TABLE_NAME"
)


class UnreadableError(Exception):
    """A dump cannot be unpacked to its end."""


def unpacked(packed: BinaryIO) -> Iterator[bytes]:
    """The lines of a compressed dump. Raises UnreadableError."""
    try:
        with gzip.GzipFile(fileobj=packed, mode="rb") as lines:
            yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableError(f"it cannot be unpacked: {error}") from error


def load(login: Login, schema: str, lines: Iterable[bytes], *, logged: bool = True) -> str:
    """Let the server's own client carry out these lines in ``schema``; returns what it said against them, or nothing.

    ``logged`` is False where nothing may reach the binary log; the login must be allowed to say so. Raises
    PrecheckError without a client, and whatever reading ``lines`` raises; the client has ended then.
    """
    program = tool(CLIENT)
    with option_file(login) as options, tempfile.TemporaryFile() as errors:
        quiet = [] if logged else [f"--init-command={UNLOGGED}"]
        command = [*DIES_WITH_US, program, options, "--batch", *quiet, f"--database={schema}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors) as client:
            assert client.stdin is not None  # noqa: S101 - it was asked for
            try:
                client.stdin.writelines(lines)
                client.stdin.close()
            except BrokenPipeError:
                pass  # it ended at an error, and says which
            except BaseException:
                client.kill()
                raise
            status = client.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    # Before the error stands the statement, with whatever the rows hold.
    return f"{program} ended with {status}: {said[max(said.rfind('ERROR '), 0) :][-800:]}" if status else ""


def contents_of(session: SqlSession, schema: str) -> Contents:
    """What the schema holds now, as far as this login may see it."""
    tables = [str(row[0]) for row in session.rows(TABLES, schema)]
    rows = {
        table: int(session.value(f"SELECT COUNT(*) FROM {quoted(schema)}.{quoted(table)}"))  # noqa: S608
        for table in tables
        if table != MARK
    }
    heads: tuple[str, ...] = ()
    if HEADS_TABLE in rows:
        asked = f"SELECT version_num FROM {quoted(schema)}.{HEADS_TABLE}"  # noqa: S608
        heads = tuple(sorted(str(row[0]) for row in session.rows(asked)))
    return Contents(rows, {kind: int(session.value(asked, schema)) for kind, asked in STORED.items()}, heads)


def character_set_of(session: SqlSession, schema: str) -> tuple[str, str] | None:
    """Character set and collation of a schema; None when there is no such schema."""
    found = session.rows(
        "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "
        "WHERE SCHEMA_NAME = %s",
        schema,
    )
    return (str(found[0][0]), str(found[0][1])) if found else None


def create_schema(session: SqlSession, schema: str, character_set: str, collation: str) -> None:
    session.rows(f"CREATE DATABASE {quoted(schema)} CHARACTER SET {character_set} COLLATE {collation}")


@contextmanager
def scratch_schema(session: SqlSession, schema: str, of: str, character_set: str, collation: str) -> Iterator[bool]:
    """An empty schema to restore ``of`` into, dropped at the end whatever happens.

    Gives whether the login's statements in it reach the binary log; they do not where it may keep them out. What a
    killed try left behind is dropped first. Raises PrecheckError when a schema of that name is somebody else's.
    """
    refuse_foreign(session, schema, of)
    logged = not _leave_out_of_the_binary_log(session)
    try:
        session.rows(f"DROP DATABASE IF EXISTS {quoted(schema)}")
        create_schema(session, schema, character_set, collation)
        session.rows(f"CREATE TABLE {quoted(schema)}.{MARK} (of VARCHAR(64) NOT NULL)")
        session.rows(f"INSERT INTO {quoted(schema)}.{MARK} VALUES (%s)", of)  # noqa: S608
        yield logged
    finally:
        session.rows(f"DROP DATABASE IF EXISTS {quoted(schema)}")


def refuse_foreign(session: SqlSession, schema: str, of: str) -> None:
    """Raise PrecheckError for a schema of that name that no proof of ``of`` has left.

    One that a proof left has the mark, or holds nothing at all, as a kill between two statements leaves it.
    """
    held = session.value(
        "SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s) + "
        "(SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = %s) + "
        "(SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s)",
        *[schema] * 3,
    )
    if not held:
        return
    asked = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
    marked = session.rows(asked, schema, MARK)
    owners = session.rows(f"SELECT of FROM {quoted(schema)}.{MARK}") if marked else []  # noqa: S608
    # Marked and not yet signed, it holds the mark alone.
    if owners in ([(of,)], []) and marked and (owners or held == 1):
        return
    raise PrecheckError(
        f"schema {schema} is there and is not one that a proof of {of} has left.",
        expected="no schema of that name: a dump is restored into it, and it is dropped then.",
        safe="nothing was changed; nothing in that schema was touched.",
        next_step="choose another backup.scratch_schema in the fleet file and grant it, or remove that schema; then "
        "clear this task.",
    )


def _leave_out_of_the_binary_log(session: SqlSession) -> bool:
    """A scratch schema is of no use to a replica. Whether the login may keep it from there."""
    import MySQLdb

    try:
        session.rows(UNLOGGED)
    except MySQLdb.Error:
        return False
    return True
