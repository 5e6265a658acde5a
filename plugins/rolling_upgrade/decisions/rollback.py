"""May a fleet go back to the release before, and in which order? Pure.

Until contract has run, the schema serves the old release and the new one (Glance administration guide, "Rolling
Upgrades"). Afterwards only the backup leads back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolling_upgrade.decisions.planning import (
    Observation,
    Plan,
    Request,
    order_of_turns,
    read_request,
    refuse_unless_serving,
)
from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet.catalogue import Catalogue, Release
from rolling_upgrade.fleet.inventory import Fleet

FIELDS = ("target_release", "nodes", "drain_timeout_seconds", "on_drain_timeout", "soak_seconds", "dry_run")
RESTORE = "the way back is the backup: see docs/recovery.md for the command that restores it"


@dataclass(frozen=True)
class Schema:
    """What is known of the database."""

    heads: tuple[str, ...]
    contract_begun: Release | None = None
    """The release that contract was begun for, finished or not."""
    if_restored: str = ""
    """The statement that takes that note away, for a database that was restored since by other means than ours."""

    def serves(self, release: Release) -> bool:
        return serves(release, self.heads, self.contract_begun)


def read_rollback(
    form: Mapping[str, Any], fleet: Fleet, catalogue: Catalogue, observed: Observation, schema: Schema
) -> Request:
    """Check what the form or the REST API sent; without a release it is the one before what the nodes run.

    Raises RefusedError, naming the value and what is allowed.
    """
    unknown = sorted(set(form) - set(FIELDS))
    if unknown:
        raise RefusedError(
            f"field {unknown[0]!r} is not known.",
            expected=f"only {', '.join(FIELDS)}.",
            next_step="trigger again without it.",
        )
    target = form.get("target_release") or release_before(observed, catalogue, schema).version
    return read_request({**form, "target_release": target}, fleet, catalogue)


def release_before(observed: Observation, catalogue: Catalogue, schema: Schema) -> Release:
    """The newest release that the schema serves and that is older than what the nodes run.

    Where no node runs a newer one, because the upgrade ended before the first was started, it is what they run: a node
    is still to come back.
    Raises RefusedError when there is none.
    """
    run = [catalogue.release(version) for version in set(observed.releases.values()) if version is not None]
    newest = max(run, key=lambda release: release.numbers, default=None)
    served = [release for release in catalogue.releases if schema.serves(release)]
    before = [release for release in served if newest is None or release.numbers < newest.numbers]
    if before:
        return before[-1]
    left = observed.out or any(version is None for version in observed.releases.values())
    if newest is not None and newest in served and left:
        return newest
    raise _contracted(schema, "no release before " + (newest.version if newest else "the newest"))


def serves(release: Release, heads: tuple[str, ...], contract_begun: Release | None) -> bool:
    """Whether the schema is the release's own, whatever an expand has added to it since.

    A contract that was begun and cut off shows in no revision, and may have taken away what the release needs.
    """
    taken_away = contract_begun is not None and contract_begun.contracted != release.contracted
    return release.contracted in heads and not taken_away


def make_rollback_plan(
    request: Request, observed: Observation, fleet: Fleet, catalogue: Catalogue, schema: Schema
) -> Plan:
    """What the rollback will do, or RefusedError when what was observed does not allow it."""
    target = catalogue.release(request.target_release)
    refuse_unless_serving(observed, fleet)
    for node, version in observed.releases.items():
        if version is None or version == target.version:
            continue
        why_not = catalogue.why_not_from(target, catalogue.release(version))
        if why_not:
            raise RefusedError(
                f"{node} runs {version}, and {target.version} is not the release before it: {why_not}.",
                expected="the release that the fleet was upgraded from.",
                next_step="trigger again with that release, or with none to have it found.",
            )
    if not schema.serves(target):
        raise _contracted(schema, f"no release as old as {target.version}")
    away = [name for name, version in observed.releases.items() if version != target.version]
    nodes = order_of_turns(request, observed, away)
    return Plan(
        fleet=fleet.name,
        from_releases=dict(observed.releases),
        target_release=target.version,
        nodes=nodes,
        already_there=tuple(name for name in nodes if name not in away),
        left_behind=tuple(name for name in away if name not in nodes),
        drain_timeout_seconds=request.drain_timeout_seconds,
        on_drain_timeout=request.on_drain_timeout,
        soak_seconds=request.soak_seconds,
        contract="later",
        dry_run=request.dry_run,
        heads=observed.heads,
        goes_back=True,
    )


def _contracted(schema: Schema, wanted: str) -> RefusedError:
    begun = schema.contract_begun
    return RefusedError(
        f"the schema is at {', '.join(schema.heads) or 'no revision'}, and "
        + (f"contract to {begun.version} has begun" if begun else "contract has run, if the fleet was ever upgraded")
        + f": {wanted} can use it.",
        expected="a fleet that was upgraded, or half, and not contracted.",
        safe="nothing was touched; the fleet serves as before.",
        next_step=RESTORE
        + ("." if not begun else f". If it was restored by other means since, tell so first: {schema.if_restored}"),
    )
