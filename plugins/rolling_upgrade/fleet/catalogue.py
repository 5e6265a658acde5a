"""The releases that this project knows how to move between, read from ``include/releases/catalogue.yaml``."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rolling_upgrade.decisions.phases import Heads
from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet.inventory import PROJECT_ROOT

CATALOGUE = PROJECT_ROOT / "include" / "releases" / "catalogue.yaml"


class Release(BaseModel):
    """One release of the service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    series: str
    slurp: bool
    """A release from which the next SLURP release can be reached directly (OpenStack's release cadence)."""
    expanded: str
    """Alembic revision after expand."""
    contracted: str
    """Alembic revision after contract."""

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    @property
    def major(self) -> int:
        return self.numbers[0]

    @property
    def heads(self) -> Heads:
        return Heads(self.expanded, self.contracted)


class Catalogue(BaseModel):
    """All releases, oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str
    releases: tuple[Release, ...] = Field(min_length=1)

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(release.version for release in self.releases)

    def release(self, version: str) -> Release:
        """The release of that version. Raises RefusedError, naming what there is."""
        for release in self.releases:
            if release.version == version:
                return release
        raise RefusedError(
            f"release {version!r} is not in the catalogue.",
            expected=f"one of {', '.join(self.versions)}.",
            next_step="choose one of these, or add the release to include/releases/catalogue.yaml.",
        )

    def why_not_from(self, old: Release, new: Release) -> str | None:
        """Why the jump is not supported, or None: the same series, the next release, or SLURP to next SLURP.

        Source: OpenStack release cadence (SLURP); Glance supports no other jump, and a skipped data migration
        loses data at contract.
        """
        if new.numbers < old.numbers:
            return f"{new.version} is older than {old.version}"
        if new.major - old.major <= 1:
            return None
        if old.slurp and new.slurp and new.major - old.major == 2:
            return None
        return (
            f"{old.version} ({old.series}) to {new.version} ({new.series}) skips a release; "
            f"supported are the next release, or from one SLURP release to the next"
        )


def load(path: Path = CATALOGUE) -> Catalogue:
    """Read the catalogue. Raises RefusedError when it does not hold one."""
    try:
        return Catalogue.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise RefusedError(
            f"the release catalogue {path.name} cannot be used: {error}.",
            expected="a list of releases as shipped in include/releases/catalogue.yaml.",
            next_step="correct the file.",
        ) from error
