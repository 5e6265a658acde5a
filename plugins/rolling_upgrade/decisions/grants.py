"""What a login of the database may do, from the lines of ``SHOW GRANTS``. Pure.

Granted on single tables is not counted: a schema that changes has tables that do not exist yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ALL = "ALL PRIVILEGES"
# Quoted by backticks, by double quotes (ANSI_QUOTES) or not at all (sql_quote_show_create=0).
_LINE = re.compile(r"^(GRANT|REVOKE) (?P<what>.+) ON (?P<schema>`(?:[^`]|``)+`|\"[^\"]+\"|[^\s.]+)\.\* (?:TO|FROM) ")


@dataclass(frozen=True)
class Held:
    """Privileges that a login holds, in capitals."""

    everywhere: frozenset[str]
    """On ``*.*``: those of the server itself are held there or nowhere."""
    on_schema: frozenset[str]
    """On the schema, from there or from ``*.*``."""

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Those of the wanted privileges of a schema that are not held, in their order."""
        return [] if ALL in self.on_schema else [name for name in wanted if name not in self.on_schema]

    def has_any_everywhere(self, wanted: Iterable[str]) -> bool:
        """Whether one of these privileges of the server is held."""
        return ALL in self.everywhere or not self.everywhere.isdisjoint(wanted)


def held(lines: Iterable[str], schema: str) -> Held:
    """What these grants give in that schema. What cannot be read gives nothing.

    A partial revoke (MySQL 8) of any privilege takes ``ALL PRIVILEGES`` and that privilege away from the schema.
    """
    everywhere, on_schema, revoked = set[str](), set[str](), set[str]()
    for line in lines:
        found = _LINE.match(line)
        if not found:
            continue
        names = {name.strip().upper() for name in found["what"].split(",")}
        if line.startswith("REVOKE"):
            revoked |= names if _covers(found["schema"], schema) else set()
        elif found["schema"].strip('`"') == "*":
            everywhere |= names
        elif _covers(found["schema"], schema):
            on_schema |= names
    from_everywhere = everywhere - revoked - ({ALL} if revoked else set())
    return Held(frozenset(everywhere), frozenset(on_schema | from_everywhere))


def _covers(granted: str, schema: str) -> bool:
    """Whether the name in a grant means that schema: ``_`` and ``%`` in it stand for others unless escaped."""
    name = granted.strip('`"').replace("``", "`")
    # A backslash is escaped itself by servers that quote the name as a string.
    parts = re.findall(r"\\+[_%]|.", name)
    pattern = "".join(".*" if part == "%" else "." if part == "_" else re.escape(part[-1]) for part in parts)
    return re.fullmatch(pattern, schema) is not None
