"""What a step leaves behind: a small record that goes into an XCom. The world stays the truth."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Record = dict[str, Any]


def now() -> str:
    """This moment in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def record(did: str, *, changed: bool, **facts: Any) -> Record:
    """A record of one step: what it did, whether it changed anything, when it ended, and further facts."""
    return {"did": did, "changed": changed, "at": now(), **facts}
