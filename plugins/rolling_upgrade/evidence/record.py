"""What a step leaves behind: a small record that goes into an XCom. The world stays the truth."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

Record = dict[str, Any]


def now() -> str:
    """This moment in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def record(did: str, *, changed: bool, **facts: Any) -> Record:
    """A record of one step: what it did, whether it changed anything, when it ended, and further facts."""
    return {"did": did, "changed": changed, "at": now(), **facts}


def read(value: Any) -> Record | None:
    """A record as it comes back from an XCom; None where there is none.

    What a trigger pushes is encoded once more on its way than what a worker pushes (Airflow 3.3).
    """
    found = json.loads(value) if isinstance(value, str) else value
    return dict(found) if found else None
