"""A fleet file for the parts that a test started, a service small enough for this machine, and a run's context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from rolling_upgrade.decisions.planning import Plan
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.fleet.inventory import Fleet, load
from rolling_upgrade.services.profile import ServiceProfile

NAME = "it"
SERVICE = "small"
SCHEMA = "glance"
OLD, NEW = "1.0.0", "2.0.0"
ARCHIVE = f"{SERVICE}-{NEW}.tar.gz"
RUN = "manual__2030-01-01T00:00:00+00:00"


def profile(root: Path, port: int) -> ServiceProfile:
    """A service whose layout and port are the test's own, so that nothing else on this machine is seen."""
    return ServiceProfile(
        name=SERVICE,
        unit=f"{SERVICE}.service",
        user="root",
        group="root",
        port=port,
        root=str(root),
        manage="bin/manage",
        configuration="etc/service.conf",
        probes=(),
        units=str(root / "units"),
    )


def write_fleet(
    folder: Path,
    *,
    nodes: int = 3,
    balancers: tuple[str, ...] = (),
    backup: Mapping[str, object] | None = None,
    database: Mapping[str, object] | None = None,
) -> Fleet:
    """Write ``<folder>/it.yaml`` and read it back as the workflow does. ``database`` adds to what it says of that."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.yaml"
    names = [f"node{number}" for number in range(1, nodes + 1)]
    content = {
        "name": NAME,
        "service": SERVICE,
        "nodes": [
            {"name": name, "address": f"127.0.0.{number}", "ssh_connection": f"it_{name}"}
            for number, name in enumerate(names, 1)
        ],
        "balancers": [
            {"name": name, "connection": f"it_{name}", "backend": "service"} for name in balancers or ("lb1",)
        ],
        "database": {
            "connection": "it_database",
            "service_connection": "it_service_database",
            "name": SCHEMA,
            **(database or {}),
        },
        "releases": {"archives": str(folder / "releases")},
        "backup": {"directory": str(folder / "backups"), **(backup or {})},
        "config": {"templates": "glance"},
    }
    path.write_text(yaml.safe_dump(content))
    return load(path)


def plan(fleet: Fleet) -> Plan:
    """All nodes of the fleet from OLD to NEW."""
    return Plan(
        fleet=fleet.name,
        from_releases=dict.fromkeys(fleet.node_names, OLD),
        target_release=NEW,
        nodes=fleet.node_names,
        already_there=(),
        left_behind=(),
        on_drain_timeout="hold",
        contract="now",
        drain_timeout_seconds=60,
        soak_seconds=0,
        dry_run=False,
        heads=(),
    )


@dataclass
class TaskInstance:
    """What earlier tasks left behind, as a task instance gives it."""

    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    map_index: int = -1
    dag_id: str = NAME
    run_id: str = RUN

    def xcom_pull(self, task_ids: str, key: str = "return_value", map_indexes: object = None) -> Any:
        return self.xcoms.get((task_ids, key))


def plan_back(fleet: Fleet) -> Plan:
    """All nodes of the fleet from NEW to OLD again."""
    return replace(
        plan(fleet),
        from_releases=dict.fromkeys(fleet.node_names, NEW),
        target_release=OLD,
        contract="later",
        goes_back=True,
    )


def context(fleet: Fleet, planned: Plan | None = None, /, **xcoms: object) -> dict[str, Any]:
    """The context of a task in a run over that fleet; ``xcoms`` are the results of tasks before it."""
    made = planned or plan(fleet)
    left = {("plan", "plan"): made.to_dict(), **{(task, "return_value"): value for task, value in xcoms.items()}}
    return {"ti": TaskInstance(left), "run_id": RUN}


def catalogue(folder: Path) -> Catalogue:
    """Both releases of the small service, read back as the workflow does."""
    releases = [
        {"version": OLD, "series": "one", "slurp": True, "expanded": "one_expand", "contracted": "one_contract"},
        {"version": NEW, "series": "two", "slurp": True, "expanded": "two_expand", "contracted": "two_contract"},
    ]
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"service": SERVICE, "releases": releases}))
    return load_catalogue(path)
