"""What stands in a dump, and is it whole? Pure, over the lines of what ``mariadb-dump`` or ``mysqldump`` wrote.

The tool leaves out what its login may not see and still ends with 0, so its exit status alone proves nothing.

Rows are counted in the dump itself, since the tables go on changing. Both tools escape line breaks and quotes inside
values and write a statement's rows either behind its VALUES (MySQL, older MariaDB) or each on a line of its own
(MariaDB 10.11); outside of quotes a parenthesis only begins or ends a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LAST_LINE = b"-- Dump completed"
KINDS = ("triggers", "routines", "events", "views")
HEADS_TABLE = "alembic_version"

_DEFINITIONS = {
    "triggers": re.compile(rb"^/\*!\d+ CREATE\*/ .*\bTRIGGER\b"),
    "routines": re.compile(rb"^(/\*!\d+ )?CREATE\b.*\b(PROCEDURE|FUNCTION|PACKAGE)\b"),
    "events": re.compile(rb"^/\*!\d+ CREATE\*/ .*\bEVENT\b"),
    "views": re.compile(rb"^/\*!\d+ VIEW `"),
}
_NAME = rb"`((?:[^`]|``)+)`"
_TABLE = re.compile(rb"^CREATE TABLE (?:IF NOT EXISTS )?" + _NAME + rb" \(")
_INSERT = re.compile(rb"^INSERT (?:IGNORE )?INTO " + _NAME + rb" (?:\((?:`(?:[^`]|``)+`(?:, )?)+\) )?VALUES")
_STRING = re.compile(rb"'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL)
_BINARY_LOG = re.compile(
    rb"^-- CHANGE (?:MASTER|REPLICATION SOURCE) TO "
    rb"(?:MASTER|SOURCE)_LOG_FILE='([^']+)', (?:MASTER|SOURCE)_LOG_POS=(\d+)"
)
_GTID = re.compile(rb"^-- SET GLOBAL gtid_slave_pos='([^']*)'")
_OTHER_SCHEMA = re.compile(rb"^(?:USE `|CREATE DATABASE|/\*!\d+ (?:CREATE DATABASE|DROP DATABASE))")


@dataclass
class DumpContent:
    """What stands in a dump."""

    last_line: bytes = b""
    stored: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    """How many triggers, routines, events and views it creates."""
    rows: dict[str, int] = field(default_factory=dict)
    """Each table, with how many rows it is given."""
    heads: list[str] = field(default_factory=list)
    """Alembic revisions."""
    position: dict[str, str] = field(default_factory=dict)
    """Where the server's binary log stood: ``file`` and ``offset``, and ``gtid`` where the server has one."""
    other_schemas: bool = False
    """It would leave the schema that it is restored into."""


class DumpReader:
    """Reads a dump line by line; ``content`` is what stood there so far."""

    def __init__(self) -> None:
        self.content = DumpContent()
        self._table: str | None = None
        """The table of an INSERT that has not ended."""
        self._in_body = False
        """Within the definition of a trigger, routine or event, whose lines may look like anything."""

    def read(self, line: bytes) -> None:
        found = self.content
        found.last_line = line.strip() or found.last_line
        if self._table is not None:
            self._rows(self._table, line)
        elif line.startswith(b"DELIMITER "):
            self._in_body = line.strip() != b"DELIMITER ;"
        elif not self._in_body and (insert := _INSERT.match(line)):
            self._rows(_text(insert[1]), line[insert.end() :])
        else:
            self._definition(line)

    def _rows(self, table: str, line: bytes) -> None:
        bare = _STRING.sub(b"", line)
        self.content.rows[table] = self.content.rows.get(table, 0) + bare.count(b"(")
        if table == HEADS_TABLE:
            self.content.heads += [found.strip(b"'").decode() for found in _STRING.findall(line)]
        self._table = None if bare.rstrip().endswith(b";") else table

    def _definition(self, line: bytes) -> None:
        found = self.content
        for kind, definition in _DEFINITIONS.items():
            if definition.match(line):
                found.stored[kind] += 1
                return
        if self._in_body:
            return
        if table := _TABLE.match(line):
            found.rows.setdefault(_text(table[1]), 0)
        elif position := _BINARY_LOG.match(line):
            found.position |= {"file": position[1].decode(), "offset": position[2].decode()}
        elif gtid := _GTID.match(line):
            found.position["gtid"] = gtid[1].decode()
        elif _OTHER_SCHEMA.match(line):
            found.other_schemas = True


def content_of(lines: Iterable[bytes]) -> DumpContent:
    """Read a dump once, line by line."""
    reader = DumpReader()
    for line in lines:
        reader.read(line)
    return reader.content


def why_not_whole(found: DumpContent, schema: Mapping[str, int]) -> list[str]:
    """Reasons against the dump; empty when it ended well and has as many tables and stored objects as the schema."""
    reasons = []
    if not found.last_line.startswith(LAST_LINE):
        reasons.append(f"it ends with {found.last_line[-80:]!r}")
    if found.other_schemas:
        reasons.append("it names a schema itself, so it is not a dump of one schema")
    held = {**found.stored, "tables": len(found.rows)}
    reasons.extend(
        f"it holds {held[kind]} of {schema[kind]} {kind}" for kind in (*KINDS, "tables") if held[kind] != schema[kind]
    )
    return reasons


def _text(name: bytes) -> str:
    return name.replace(b"``", b"`").decode(errors="surrogateescape")
