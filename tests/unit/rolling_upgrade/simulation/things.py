"""A fleet in plain data: machines, balancers, a database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.decisions.schema_checks import OpenTransaction
from rolling_upgrade.hooks.balancer import Admin
from tests.unit.rolling_upgrade.simulation.actors import Actor


@dataclass
class Server:
    """One server on one balancer."""

    admin: Admin = Admin.READY
    up: bool = True
    check: str = "L7OK"
    sessions: int = 0
    pooled: int = 0
    """Idle connections that the balancer keeps open to the node."""
    left: int = 0
    """Requests that a balancer process before a restart still serves; no counter shows them."""
    errors: int = 0
    """Answers of 5xx since the balancer was started."""
    cut_off: bool = False
    """The balancer, and it alone, does not reach the node."""
    taken: bool = False
    """A task took it out, and nobody put it back since."""

    @property
    def takes(self) -> bool:
        return self.admin is Admin.READY and self.up

    @property
    def status(self) -> str:
        if self.admin is Admin.MAINT:
            return "MAINT"
        if not self.up:
            return "DOWN"
        return "UP" if self.admin is Admin.READY else "DRAIN"


@dataclass
class Balancer:
    name: str
    servers: dict[str, Server]
    reachable: bool = True


@dataclass
class PhaseUnit:
    """The unit of a database phase on a machine."""

    phase: Phase
    release: str
    left: float
    running: bool = True
    status: int = 0


@dataclass
class Machine:
    """One node."""

    name: str
    current: str
    staged: set[str]
    runs: str | None
    """The release whose processes are there."""
    unit: str = "active"
    """systemd's ActiveState; ``activating`` while it crash-loops."""
    powered: bool = True
    ssh: bool = True
    starts_at_boot: bool = True
    crashes: set[str] = field(default_factory=set)
    slow: bool = False
    """A transfer on it does not end."""
    orphan: str = ""
    """A release of which a process outside the unit still listens on the port."""
    restarts: int = 0
    held: bool = False
    """The rollout keeps the unit from starting by itself."""
    stop_hangs: bool = False
    stopped_by_task: bool = False
    errs: bool = False
    """It answers its checks and fails its users."""
    phases: dict[str, PhaseUnit] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    """How often each release was started, by whomever."""
    stops: Counter[str] = field(default_factory=Counter)
    """How often each release was stopped by a task."""

    @property
    def answers(self) -> bool:
        serves = self.unit in ("active", "deactivating") and self.runs is not None
        return self.powered and (serves or bool(self.orphan))

    def runs_only(self, release: str) -> bool:
        return self.runs == release and self.orphan in ("", release)


@dataclass
class Database:
    heads: frozenset[str]
    reachable: bool = True
    expanded: bool = False
    migrated: bool = False
    contracted: bool = False
    half_contracted: bool = False
    """Contract has begun and has not ended well: no revision tells, and the old release cannot use the schema."""
    contract_mark: str | None = None
    """The row that says to which release contract has begun."""
    backups: dict[str, str] = field(default_factory=dict)
    """Runs that have a dump, with the time when it was begun."""
    backing_up: int = 0
    locked: bool = False
    """A dump is made, or a phase begins."""
    holder: Holder | None = None
    """The row of the claims."""
    trusts: bool = False
    """The server lets every login make triggers; beside its binary log expand and contract need that."""
    trusted_before: dict[str, bool] = field(default_factory=dict)
    """The rows that remember what ``trusts`` was."""
    transactions: tuple[OpenTransaction, ...] = ()


@dataclass(frozen=True)
class Change:
    """What has just happened to the world, and who did it; None is a fault, a person, or the world itself."""

    what: str
    actor: Actor | None
    node: str = ""
    balancer: str = ""
    release: str = ""
    phase: Phase | None = None
    before: str = ""
