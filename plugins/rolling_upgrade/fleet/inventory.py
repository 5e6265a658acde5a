"""The fleet: nodes, balancers and database of one installation, read from a file in ``include/fleets``.

A fleet file holds names, addresses and the ids of Airflow connections, never a secret. Everything that can
reach a shell or a balancer's command line is held to a narrow alphabet here, when the file is read.
"""

from __future__ import annotations

import ipaddress
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rolling_upgrade.errors import RefusedError

PROJECT_ROOT = Path(__file__).resolve().parents[3]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
"""A name that is safe in a shell, in a DAG id and in HAProxy's command language."""
AbsolutePath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./-]+$")]
LONGEST_SCHEMA = 64
"""Characters of a schema's name that MySQL and MariaDB take."""
MailAddress = Annotated[str, Field(pattern=r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$", max_length=254)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(_Model):
    """One machine that runs the service."""

    name: Name
    address: str
    ssh_connection: Name
    server: Name | None = None
    """Its server name on the balancers, where that differs from ``name``."""

    @property
    def server_name(self) -> str:
        return self.server or self.name

    @model_validator(mode="after")
    def _address_is_an_ip(self) -> Self:
        ipaddress.ip_address(self.address)
        return self


class Balancer(_Model):
    """One HAProxy, reached through its runtime API at admin level."""

    name: Name
    connection: Name
    backend: Name


class Database(_Model):
    """The service's database: the operator's login and the service's own."""

    connection: Name
    service_connection: Name
    name: Name
    lock_wait_seconds: int = Field(default=10, ge=1, le=3600)
    """How long expand, migrate and contract may wait for the lock of a table; users of that table wait as long."""
    claims_schema: Name = "rolling_upgrade"
    """Where the server keeps which run holds the fleet: a schema of its own, so that no dump and no restore has it."""
    long_transaction_seconds: int = Field(default=30, ge=1, le=86_400)
    """A transaction open as long forbids expand and contract: they, and then every request, would wait for it."""
    set_log_bin_trust: bool = False
    """Beside a binary log: set the server's ``log_bin_trust_function_creators`` while expand and contract run."""


class Releases(_Model):
    """Where the archives of releases lie: ``<service>-<version>.tar.gz`` with a ``.sha256`` beside each."""

    archives: AbsolutePath


class Backup(_Model):
    """Where dumps of the database go, how they are proven, and how long they count and stay."""

    directory: AbsolutePath
    host: Name = "worker"
    """``worker``, or the id of the SSH connection of the host that has the directory."""
    keep: int = Field(default=10, ge=1)
    """How many dumps of the fleet stay; older ones are deleted once a new one is proven."""
    max_age_hours: float = Field(default=24, gt=0)
    """Expand does not begin with a dump of its run that is older."""
    scratch_schema: Name | None = None
    """Where a dump is restored to be proven, on the same server; None means ``<database>_restore_check``."""
    space_factor: float = Field(default=1.0, gt=0)
    """Room that must be free before a dump, in sizes of the schema. A dump is compressed."""


class Config(_Model):
    """The service's configuration: a folder of templates in ``include/config`` and the fleet's values for it."""

    templates: Name
    values: dict[str, Any] = Field(default_factory=dict)


class Stop(_Model):
    """How the service of a drained node is stopped. A unit that does not end is killed only with ``kill``."""

    seconds: int = Field(default=120, ge=1, le=3600)
    """How long the unit may take to end."""
    kill: bool = False


class Health(_Model):
    """What a node must do before it gets requests again, beyond answering its probes."""

    image: bool = True
    """Upload, download and delete a small image through the node itself."""
    credentials: Name | None = None
    """The connection that leads to Keystone, for a token; without one, only nodes that want no token are so tried."""


OnDrainTimeout = Literal["hold", "ask", "cut"]
"""What happens when a drain takes too long: put the node back and fail, ask a person, or cut what is open."""


WhenToContract = Literal["ask", "now", "later"]
"""Contract once a person has approved it, as soon as it is proven that it may be, or not in this run."""


class Defaults(_Model):
    """What a run uses where the form leaves something open. Times are in seconds."""

    drain_timeout_seconds: int = Field(default=600, ge=1, le=86_400)
    on_drain_timeout: OnDrainTimeout = "hold"
    soak_seconds: int = Field(default=30, ge=0, le=86_400)
    contract: WhenToContract = "ask"
    approval_hours: int = Field(default=24, ge=1, le=720)
    """How long a person may take to approve contract; then the run ends without it."""
    soak_errors: int = Field(default=0, ge=0)
    """Errors of a node (5xx, failed connections, broken answers) that its soak lets pass, for each balancer."""
    min_in_rotation: int | None = Field(default=None, ge=1)
    """Servers that stay UP on every balancer while a node is out; None means all but one, at least 1."""


class SmtpAlert(_Model):
    """Alerts go out as mail, over an Airflow connection of type smtp."""

    kind: Literal["smtp"]
    connection: Name
    to: tuple[MailAddress, ...] = Field(min_length=1)
    from_address: MailAddress


class WebhookAlert(_Model):
    """Alerts are POSTed as JSON to the URL of an Airflow connection of type http."""

    kind: Literal["webhook"]
    connection: Name


AlertChannel = Annotated[SmtpAlert | WebhookAlert, Field(discriminator="kind")]


class Fleet(_Model):
    """One installation. Raises RefusedError when the file does not describe one."""

    name: Name
    service: Name
    nodes: tuple[Node, ...] = Field(min_length=1)
    balancers: tuple[Balancer, ...] = Field(min_length=1)
    database: Database
    releases: Releases
    backup: Backup
    config: Config
    stop: Stop = Stop()
    health: Health = Health()
    defaults: Defaults = Defaults()
    alerts: tuple[AlertChannel, ...] = ()
    """Who is told, besides the log, when a task fails or the rollout holds for a person."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in {
            "nodes": [n.name for n in self.nodes],
            "server names": [n.server_name for n in self.nodes],
            "addresses": [n.address for n in self.nodes],
            "balancers": [b.name for b in self.balancers],
        }.items():
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"{what} must be unique, and {', '.join(twice)} stands there more than once")
        return self

    @model_validator(mode="after")
    def _scratch_schema_is_its_own(self) -> Self:
        if self.scratch_schema in (self.database.name, self.database.claims_schema):
            raise ValueError(f"backup.scratch_schema {self.scratch_schema} is in use: dumps are restored into it")
        if len(self.scratch_schema) > LONGEST_SCHEMA:
            raise ValueError(f"backup.scratch_schema {self.scratch_schema} is longer than {LONGEST_SCHEMA} characters")
        return self

    @property
    def scratch_schema(self) -> str:
        return self.backup.scratch_schema or f"{self.database.name}_restore_check"

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(n.name for n in self.nodes)

    def node(self, name: str) -> Node:
        """The node of that name; raises RefusedError for a name that is not in the inventory."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise RefusedError(
            f"node {name!r} is not in fleet {self.name!r}.",
            expected=f"one of {', '.join(self.node_names)}.",
            next_step="correct the name, or add the node to the fleet file.",
        )


def load(path: Path) -> Fleet:
    """Read one fleet file. Raises RefusedError, naming the file and each thing that is wrong in it."""
    try:
        return Fleet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        if isinstance(error, ValidationError):
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}, found {item['input']!r}"
                for item in error.errors()
            )
        else:
            wrong = str(error)
        raise RefusedError(
            f"fleet file {path.name} cannot be used: {wrong}.",
            expected="a fleet as in include/fleets/lab.yaml.",
            next_step="correct the file; its workflow appears again when it is read next.",
        ) from error


def fleet_directory() -> Path:
    """``ROLLING_UPGRADE_FLEETS`` if set, else ``include/fleets`` of this project."""
    chosen = os.environ.get("ROLLING_UPGRADE_FLEETS")
    return Path(chosen) if chosen else PROJECT_ROOT / "include" / "fleets"


def fleet_files() -> tuple[Path, ...]:
    """Every fleet file, in the order of their names."""
    return tuple(sorted(fleet_directory().glob("*.yaml")))


def usable_fleets() -> Iterator[Fleet]:
    """Every fleet whose file can be read; a file that is wrong is warned of, which shows as a warning of the DAG file.

    It must not take the workflows of the other fleets away from under their runs.
    """
    for path in fleet_files():
        try:
            yield load(path)
        except RefusedError as error:
            warnings.warn(str(error), stacklevel=2)


def load_named(name: str) -> Fleet:
    """The fleet of that name. Raises RefusedError when no file holds it, saying which file is wrong where one is."""
    refused: list[RefusedError] = []
    for path in fleet_files():
        try:
            fleet = load(path)
        except RefusedError as error:
            refused.append(error)
            continue
        if fleet.name == name:
            return fleet
    if refused:
        raise refused[0]
    raise RefusedError(
        f"no file in {fleet_directory()} describes a fleet named {name!r}.",
        expected="one file for each fleet.",
        next_step="restore the fleet file, then clear the failed task.",
    )
