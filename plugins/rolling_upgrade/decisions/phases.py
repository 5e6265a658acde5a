"""The three phases of a database upgrade: what their tools say and what follows. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """A phase, by the name that the service's manage command has for it."""

    EXPAND = "expand"
    MIGRATE = "migrate"
    CONTRACT = "contract"


class SchemaState(Enum):
    """Exit status of ``db check`` of the new release (Glance manual, "Rolling Upgrades")."""

    CURRENT = 0
    EXPAND_NEEDED = 3
    MIGRATE_NEEDED = 4
    CONTRACT_NEEDED = 5


MIGRATION_COMPLETE = frozenset({SchemaState.CURRENT, SchemaState.CONTRACT_NEEDED})
"""States in which the new release may start. Many upgrades have nothing to contract, so CURRENT counts."""


@dataclass(frozen=True)
class Heads:
    """Alembic revisions that a release's schema ends at."""

    expanded: str
    contracted: str

    def phase_is_done(self, phase: Phase, found: Collection[str]) -> bool:
        """Whether the revisions found in the database show that the phase has run.

        Data migration leaves no revision, so MIGRATE counts only as far as expand shows it possible.
        """
        if phase is Phase.CONTRACT:
            return self.contracted in found
        return self.expanded in found or self.contracted in found


class UnitAction(Enum):
    """What to do about the remote unit that runs a phase."""

    START = "start"
    ATTACH = "attach"
    DONE = "done"
    START_OVER = "start over"


@dataclass(frozen=True)
class UnitState:
    """A remote unit as ``systemctl show`` tells it."""

    load: str
    active: str
    sub: str
    result: str
    exit_status: int

    @classmethod
    def from_show(cls, properties: Mapping[str, str]) -> UnitState:
        return cls(
            load=properties.get("LoadState", ""),
            active=properties.get("ActiveState", ""),
            sub=properties.get("SubState", ""),
            result=properties.get("Result", ""),
            exit_status=int(properties.get("ExecMainStatus") or 0),
        )

    @property
    def exists(self) -> bool:
        return self.load not in ("", "not-found")

    @property
    def running(self) -> bool:
        return self.exists and (self.active in ("activating", "deactivating", "reloading") or self.sub == "running")

    @property
    def succeeded(self) -> bool:
        return self.exists and not self.running and self.result == "success" and self.exit_status == 0

    @property
    def failed(self) -> bool:
        return self.exists and not self.running and not self.succeeded


def unit_action(unit: UnitState, *, phase_done: bool) -> UnitAction:
    """What a try of a phase does about its unit. A running one is never started a second time."""
    if unit.running:
        return UnitAction.ATTACH
    if phase_done:
        return UnitAction.DONE
    return UnitAction.START_OVER if unit.exists else UnitAction.START
