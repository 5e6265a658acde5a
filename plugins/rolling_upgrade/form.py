"""The trigger forms, one field for each thing that a run may be asked for."""

from __future__ import annotations

from typing import get_args

from airflow.sdk import Param

from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.fleet.inventory import Fleet, OnDrainTimeout, WhenToContract

ANY_TYPE = ("string", "integer", "number", "boolean", "array", "object")

DRAWN_BY_TYPE: list[str] = []
"""Without examples Airflow 3.3 draws every field of several types as a box for JSON; none is enough."""


def field(kind: str, *, optional: bool = True) -> list[str]:
    """The type of a field: the form draws the first one, and every other passes too, for `plan` to refuse by name."""
    return [kind, *(other for other in ANY_TYPE if other != kind), *(["null"] if optional else [])]


def upgrade_form(fleet: Fleet, catalogue: Catalogue) -> dict[str, Param]:
    """The trigger form. `plan` checks every value, so that the form and the REST API are refused alike."""
    return {
        "target_release": Param(
            catalogue.versions[-1],
            type=field("string", optional=False),
            title="Target release",
            examples=list(catalogue.versions),
            description="The release to move the fleet to: the next one, or from one SLURP release to the next.",
        ),
        "nodes": Param(
            list(fleet.node_names),
            type=field("array"),
            title="Nodes",
            examples=list(fleet.node_names),
            description="The nodes to upgrade, in this order. Contract runs once no node of the fleet is left behind.",
        ),
        "new_node": Param(
            None,
            type=field("string"),
            title="New node",
            examples=list(fleet.node_names),
            description="The node that is upgraded first and runs the database phases. Empty: the first of the nodes.",
        ),
        "drain_timeout_seconds": Param(
            fleet.defaults.drain_timeout_seconds,
            type=field("integer"),
            examples=DRAWN_BY_TYPE,
            title="Drain timeout (seconds)",
            description="How long a node may take to finish its requests.",
        ),
        "on_drain_timeout": Param(
            fleet.defaults.on_drain_timeout,
            type=field("string"),
            title="When a drain takes longer",
            examples=list(get_args(OnDrainTimeout)),
            values_display={
                "hold": "hold: back into rotation, and the run waits for you",
                "ask": "ask: a person decides in Airflow",
                "cut": "cut: whoever is still served gets an error",
            },
            description="Nothing is cut unless this says so, or a person does when asked.",
        ),
        "soak_seconds": Param(
            fleet.defaults.soak_seconds,
            type=field("integer"),
            examples=DRAWN_BY_TYPE,
            title="Soak (seconds)",
            description="How long a node is watched after its return before the next one begins.",
        ),
        "contract": Param(
            fleet.defaults.contract,
            type=field("string"),
            title="Contract",
            examples=list(get_args(WhenToContract)),
            values_display={
                "ask": "ask: once a person has approved it in Airflow",
                "now": "now: as soon as it is proven that no old service is left",
                "later": "later: not in this run",
            },
            description="After contract the old release cannot come back without restoring the database.",
        ),
        "dry_run": Param(
            False,
            type=field("boolean"),
            examples=DRAWN_BY_TYPE,
            title="Dry run",
            description="Show the plan and end. Nothing is changed.",
        ),
    }


def rollback_form(fleet: Fleet, catalogue: Catalogue) -> dict[str, Param]:
    """The form of a rollback: what an upgrade asks of each node, and which release to go back to."""
    shared = upgrade_form(fleet, catalogue)
    return {
        "target_release": Param(
            None,
            type=field("string"),
            title="Release to go back to",
            examples=list(catalogue.versions),
            description="Empty: the release before the one that the nodes run. The database must still serve it.",
        ),
        **{
            name: shared[name]
            for name in ("nodes", "drain_timeout_seconds", "on_drain_timeout", "soak_seconds", "dry_run")
        },
    }
