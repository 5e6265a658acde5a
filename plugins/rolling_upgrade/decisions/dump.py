"""Is a dump whole? Pure, over the lines of what ``mariadb-dump`` wrote.

The tool leaves out what its login may not see and still ends with 0, so its exit status alone proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LAST_LINE = b"-- Dump completed"
KINDS = ("triggers", "routines", "events")
# Rows are on lines of their own that begin with INSERT, and line breaks inside values are escaped.
_DEFINITIONS = {
    "triggers": re.compile(rb"^/\*!\d+ CREATE\*/ .*\bTRIGGER\b"),
    "routines": re.compile(rb"^(/\*!\d+ )?CREATE\b.*\b(PROCEDURE|FUNCTION|PACKAGE)\b"),
    "events": re.compile(rb"^/\*!\d+ CREATE\*/ .*\bEVENT\b"),
}


@dataclass(frozen=True)
class DumpContent:
    """What stands in a dump."""

    last_line: bytes
    stored: Mapping[str, int]
    """How many triggers, routines and events it creates."""


def content_of(lines: Iterable[bytes]) -> DumpContent:
    """Read a dump once, line by line."""
    last, stored = b"", dict.fromkeys(KINDS, 0)
    for line in lines:
        last = line.strip() or last
        if line.startswith(b"INSERT"):
            continue
        for kind, definition in _DEFINITIONS.items():
            if definition.match(line):
                stored[kind] += 1
                break
    return DumpContent(last, stored)


def why_not_whole(found: DumpContent, schema: Mapping[str, int]) -> list[str]:
    """Reasons against the dump; empty when it ended well and has as many stored objects as the schema."""
    reasons = []
    if not found.last_line.startswith(LAST_LINE):
        reasons.append(f"it ends with {found.last_line[-80:]!r}")
    reasons.extend(
        f"it holds {found.stored[kind]} of {schema[kind]} {kind}"
        for kind in KINDS
        if found.stored[kind] != schema[kind]
    )
    return reasons
