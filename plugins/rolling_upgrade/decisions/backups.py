"""What is known of a dump, and what follows from it: its age, its room, what a restore must show. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Self

from rolling_upgrade.decisions.claims import Holder

SUFFIX = ".json"
"""Of the file beside a dump that holds what is known of it."""


@dataclass(frozen=True)
class Contents:
    """What a schema holds."""

    rows: Mapping[str, int]
    """Each table, with its rows."""
    stored: Mapping[str, int]
    """How many triggers, routines, events and views."""
    heads: tuple[str, ...]
    """Alembic revisions, sorted."""


@dataclass(frozen=True)
class Manifest:
    """What stands beside a dump. Times are in UTC, ISO 8601; the data is that of ``begun``."""

    file: str
    fleet: str
    database: str
    run: Mapping[str, str]
    begun: str
    ended: str
    bytes: int
    sha256: str
    tool: str
    server_version: str
    character_set: str
    collation: str
    contents: Contents
    position: Mapping[str, str] = field(default_factory=dict)
    """Where the binary log stood: ``file``, ``offset``, ``gtid``. Empty with a reason in ``no_position``."""
    no_position: str = ""
    proven: str = ""
    """When a restore of it showed all that it should."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError for anything that is no manifest."""
        try:
            found: dict[str, Any] = json.loads(text)
            held = found["contents"]
            contents = Contents(dict(held["rows"]), dict(held["stored"]), tuple(held["heads"]))
            return cls(**{**{key: found[key] for key in (item.name for item in fields(cls))}, "contents": contents})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no description of a dump: {error!r}") from error

    def is_of(self, fleet: str, database: str, name: str) -> bool:
        """Whether it describes the file of that name, and that is a dump of this fleet's database."""
        return (self.fleet, self.database, self.file) == (fleet, database, name)

    def is_of_run(self, run: Holder) -> bool:
        return dict(self.run) == asdict(run)


def why_too_old(begun: object, max_age_hours: float, now: str) -> str | None:
    """Why a dump whose data is of ``begun`` is no backup any more at ``now``; None when it still is."""
    try:
        age = datetime.fromisoformat(now) - datetime.fromisoformat(str(begun))
    except (ValueError, TypeError):
        return f"the backup's record does not say when the dump was begun: {begun!r}"
    if age <= timedelta(hours=max_age_hours):
        return None
    return f"the backup is {age.total_seconds() / 3600:.1f} hours old (begun {begun})"


def why_no_space(schema_bytes: int, factor: float, free_bytes: int) -> str | None:
    """Why a dump of a schema of that size may not fit; None when it should."""
    needed = int(schema_bytes * factor)
    if free_bytes >= needed:
        return None
    return (
        f"{free_bytes / 2**20:.1f} MiB are free, and the schema of {schema_bytes / 2**20:.1f} MiB "
        f"asks for {needed / 2**20:.1f} MiB (times space_factor {factor:g})"
    )


def why_differs(expected: Contents, found: Contents) -> list[str]:
    """In what a restored schema differs from what was dumped; empty when in nothing."""
    reasons = []
    if lacking := sorted(set(expected.rows) - set(found.rows)):
        reasons.append(f"it lacks {_some(lacking)}")
    if unknown := sorted(set(found.rows) - set(expected.rows)):
        reasons.append(f"it has {_some(unknown)} besides")
    reasons.extend(
        f"{table} has {found.rows[table]} rows instead of {rows}"
        for table, rows in sorted(expected.rows.items())
        if found.rows.get(table, rows) != rows
    )
    reasons.extend(
        f"it has {found.stored.get(kind)} {kind} instead of {count}"
        for kind, count in expected.stored.items()
        if found.stored.get(kind) != count
    )
    if expected.heads != found.heads:
        reasons.append(f"it is at {_listed(found.heads)} instead of {_listed(expected.heads)}")
    return reasons


def surplus(manifests: Iterable[Manifest], keep: int) -> list[Manifest]:
    """The dumps beyond the newest ``keep``, of those given; the newest of all is never among them."""
    newest_first = sorted(manifests, key=lambda found: (found.begun, found.file), reverse=True)
    return newest_first[max(keep, 1) :]


def _some(tables: list[str], limit: int = 5) -> str:
    named = ", ".join(tables[:limit])
    return f"table {named}" if len(tables) == 1 else f"{len(tables)} tables ({named}{', …' * (len(tables) > limit)})"


def _listed(heads: tuple[str, ...]) -> str:
    return ", ".join(heads) or "no revision"
