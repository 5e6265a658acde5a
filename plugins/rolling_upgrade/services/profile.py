"""What the workflow must know about a service: names, layout on a node, commands, probes.

Commands are built here as lists of words, so that quoting is done once, where a list becomes a command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rolling_upgrade.decisions.phases import Phase


@dataclass(frozen=True)
class HttpProbe:
    """A request that a healthy node answers correctly."""

    path: str
    statuses: frozenset[int]
    contains: str = ""


@dataclass(frozen=True)
class RemovedOption:
    """An option that turns on a part of the service which cannot take part in a rolling upgrade."""

    name: str
    values: frozenset[str] | None = None
    """In small letters; None: whatever its value is."""


@dataclass(frozen=True)
class DataMigration:
    """A data migration of a release that no supported upgrade begins at, and how to see that it was never run."""

    release: str
    table: str
    column: str
    """It is asked about only where the table has this column."""
    where: str
    """SQL for the rows that it should have changed; empty where the column itself should be gone."""
    what: str
    """What is left, for a person: follows the number of rows, if any."""
    remedy: str


@dataclass(frozen=True)
class ServiceProfile:
    """One service with the three database phases expand, migrate, contract."""

    name: str
    unit: str
    user: str
    group: str
    port: int
    root: str
    """Holds ``releases/<version>`` and the symlink ``current``."""
    manage: str
    """Manage command, inside a release's tree."""
    configuration: str
    """Main configuration file, inside a release's tree."""
    probes: tuple[HttpProbe, ...]
    validator: str = ""
    """oslo.config's validator, inside a release's tree; empty for a service that has none."""
    option_namespaces: tuple[str, ...] = ()
    """Where the validator finds the options that the service knows."""
    rows_left: str = ""
    """SQL that counts the rows which a data migration still has to move; empty where no revision of it moves any."""
    units: str = "/etc/systemd/system"
    """Where units of the machine's own are kept; what lies there outlives a boot."""
    image_api: bool = False
    """It stores images: a node is tried with one before it gets requests again."""
    status: str = ""
    """Command that checks whether an upgrade can be made, inside a release's tree; empty for a service without one."""
    removed_options: tuple[RemovedOption, ...] = ()
    removed_programs: tuple[str, ...] = ()
    """Programs of the service, also names of units, that must not run."""
    earlier_migrations: tuple[DataMigration, ...] = ()

    @property
    def releases(self) -> str:
        return f"{self.root}/releases"

    @property
    def current(self) -> str:
        return f"{self.root}/current"

    def tree(self, release: str) -> str:
        return f"{self.releases}/{release}"

    def configuration_file(self, release: str) -> str:
        return f"{self.tree(release)}/{self.configuration}"

    def archive(self, release: str) -> str:
        return f"{self.name}-{release}.tar.gz"

    def phase_configuration_file(self, release: str) -> str:
        """What a phase reads after the service's own configuration."""
        return f"{self.configuration_file(release)}.phase"

    def manage_command(self, release: str, *words: str, configurations: Sequence[str] = ()) -> list[str]:
        """The release's own manage command, by full path: ``current`` may still name another release."""
        files = (self.configuration_file(release), *configurations)
        options = [word for file in files for word in ("--config-file", file)]
        return [f"{self.tree(release)}/{self.manage}", *options, *words]

    def phase_command(self, release: str, phase: Phase) -> list[str]:
        more = [self.phase_configuration_file(release)]
        return self.manage_command(release, "db", phase.value, configurations=more)

    def check_command(self, release: str) -> list[str]:
        return self.manage_command(release, "db", "check")

    def upgrade_check_command(self, release: str) -> list[str]:
        """The release's own check whether it can be upgraded to. It asks configuration, and changes nothing."""
        return [
            f"{self.tree(release)}/{self.status}",
            "--config-file",
            self.configuration_file(release),
            "upgrade",
            "check",
        ]

    def validate_command(self, release: str, configuration: str, *, free_groups: Sequence[str] = ()) -> list[str]:
        """Check a configuration file against the options that the release knows.

        ``free_groups`` are groups that the configuration names itself, such as its stores; no release knows those.
        """
        words = [f"{self.tree(release)}/{self.validator}", "--input-file", configuration]
        for namespace in self.option_namespaces:
            words += ["--namespace", namespace]
        for group in free_groups:
            words += ["--exclude-group", group]
        return words

    def phase_unit(self, release: str, phase: Phase) -> str:
        """Name of the remote unit of a phase: the same for every try, so that one never runs twice at a time."""
        return f"{self.name}-db-{phase.value}-{release}.service"
