"""No phase of the database begins beside another, wherever that one runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rolling_upgrade.errors import PrecheckError, UnreachableError
from rolling_upgrade.evidence.record import now
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.contract_mark import (
    contract_began,
    forget_contract,
    forget_statement,
    mark_contract,
)
from rolling_upgrade.hooks.phase import RemotePhase, refuse_running_phase
from rolling_upgrade.operators import database_phase
from rolling_upgrade.operators.database_phase import (
    ContractOperator,
    DatabasePhaseOperator,
    ExpandOperator,
    MigrateOperator,
)
from rolling_upgrade.services.profile import ServiceProfile
from tests.integration.parts.fleets import NAME, NEW, SCHEMA, context, write_fleet
from tests.integration.parts.mariadb import OPERATOR, MariaDB
from tests.integration.parts.processes import free_port
from tests.integration.parts.site import SetConnection
from tests.integration.parts.sshd import Sshd

pytestmark = pytest.mark.integration

BACKUP = {"begun": now()}
PHASES: list[tuple[type[DatabasePhaseOperator], str]] = [
    (ExpandOperator, "one_contract"),
    (MigrateOperator, "two_expand"),
    (ContractOperator, "two_expand"),
]


@pytest.fixture
def fleet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_service: ServiceProfile,
    reachable_nodes: Sshd,
    set_connection: SetConnection,
) -> Fleet:
    """Three nodes that answer; no balancer is asked, and no configuration is rendered."""
    monkeypatch.setattr(database_phase, "_configure", lambda step: None)
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path / "fleets"))
    set_connection("it_lb1", {"conn_type": "generic", "host": "127.0.0.1", "port": free_port()})
    return write_fleet(tmp_path / "fleets")


@pytest.fixture(params=PHASES, ids=["expand", "migrate", "contract"])
def phase(
    request: pytest.FixtureRequest, fleet: Fleet, database: MariaDB, small_catalogue: Catalogue
) -> DatabasePhaseOperator:
    """A phase on node1, with the schema at the revision where its turn is."""
    operator, revision = request.param
    database.at(revision)
    made: DatabasePhaseOperator = operator(task_id="phase", fleet=NAME, node="node1")
    return made


def test_a_phase_does_not_begin_while_another_runs_on_any_node(
    reachable_nodes: Sshd, fleet: Fleet, phase: DatabasePhaseOperator
) -> None:
    reachable_nodes.units("127.0.0.3", "small-db-migrate-1.5.0.service loaded active running")

    with pytest.raises(PrecheckError, match=r"small-db-migrate-1\.5\.0\.service is running on node3") as caught:
        phase.execute(context(fleet, backup_database=BACKUP))

    assert "systemctl status small-db-migrate-1.5.0.service` on node3" in caught.value.next_step
    assert reachable_nodes.told == []


def test_a_phase_does_not_begin_while_a_node_cannot_be_asked(
    reachable_nodes: Sshd, fleet: Fleet, phase: DatabasePhaseOperator, set_connection: SetConnection
) -> None:
    set_connection("it_node3", {**reachable_nodes.connection(), "port": free_port()})

    with pytest.raises(UnreachableError, match="node node3"):
        phase.execute(context(fleet, backup_database=BACKUP))

    assert reachable_nodes.told == []


def test_expand_begins_when_nothing_else_runs(
    reachable_nodes: Sshd, fleet: Fleet, database: MariaDB, small_catalogue: Catalogue
) -> None:
    database.at("one_contract")
    reachable_nodes.units(
        "127.0.0.2", "small-db-migrate-1.5.0.service loaded active exited", "small.service loaded active x"
    )

    record = ExpandOperator(task_id="expand", fleet=NAME, node="node1").execute(context(fleet, backup_database=BACKUP))

    assert record["did"] == f"expand is under way as small-db-expand-{NEW}.service"
    (told,) = reachable_nodes.told
    assert told.startswith(f"systemd-run --unit=small-db-expand-{NEW}.service --uid=root")


def test_contract_is_on_record_before_it_begins_until_an_expand_begins_anew(
    fleet: Fleet,
    database: MariaDB,
    small_catalogue: Catalogue,
    small_service: ServiceProfile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_phase, "why_old_services_may_remain", lambda *_: [])
    manage = Path(small_service.tree(NEW)) / small_service.manage
    manage.parent.mkdir(parents=True)
    manage.write_text("#!/bin/sh\nexit 5\n")  # db check: contract needed
    manage.chmod(0o755)
    began: list[str | None] = []
    monkeypatch.setattr(RemotePhase, "start", lambda self: began.append(contract_began(fleet.database)))
    database.at("two_expand")
    assert contract_began(fleet.database) is None

    for _ in range(2):
        ContractOperator(task_id="contract", fleet=NAME, node="node1").execute(context(fleet))

    assert began == [NEW, NEW]
    database.at("one_contract")
    ExpandOperator(task_id="expand", fleet=NAME, node="node1").execute(context(fleet, backup_database=BACKUP))
    assert began == [NEW, NEW, None]


def test_a_note_of_contract_can_be_taken_away_by_the_statement_that_is_named(fleet: Fleet, database: MariaDB) -> None:
    forget_contract(fleet.database)  # nothing is there yet
    mark_contract(fleet.database, NEW)
    assert contract_began(fleet.database) == NEW

    with database.connect(OPERATOR, SCHEMA).cursor() as cursor:
        cursor.execute(forget_statement(fleet.database))

    assert contract_began(fleet.database) is None


def test_expand_does_not_begin_without_a_backup(
    reachable_nodes: Sshd, fleet: Fleet, database: MariaDB, small_catalogue: Catalogue
) -> None:
    database.at("one_contract")

    with pytest.raises(PrecheckError, match="no backup of the database is recorded in this run"):
        ExpandOperator(task_id="expand", fleet=NAME, node="node1").execute(context(fleet))

    assert reachable_nodes.told == []


@pytest.mark.parametrize(
    ("hours", "why"),
    [
        (25.0, r"the backup is 25\.0 hours old \(begun .*\) in this run"),
        (None, "the backup's record does not say when the dump was begun: None in this run"),
    ],
)
def test_expand_does_not_begin_with_a_backup_that_is_too_old(
    reachable_nodes: Sshd, fleet: Fleet, database: MariaDB, small_catalogue: Catalogue, hours: float | None, why: str
) -> None:
    database.at("one_contract")
    begun = (datetime.now(UTC) - timedelta(hours=hours)).isoformat() if hours else None

    with pytest.raises(PrecheckError, match=why) as caught:
        ExpandOperator(task_id="expand", fleet=NAME, node="node1").execute(
            context(fleet, backup_database={"changed": True, "begun": begun})
        )

    assert "no more than 24 h ago" in caught.value.expected
    assert caught.value.next_step.startswith("clear backup_database")
    assert reachable_nodes.told == []


@pytest.mark.parametrize(
    "state", ["active running", "activating start", "deactivating stop-sigterm", "reloading reload"]
)
def test_a_phase_that_has_not_ended_counts(
    reachable_nodes: Sshd, fleet: Fleet, small_service: ServiceProfile, state: str
) -> None:
    """One that is being stopped still works on the database until its process is gone."""
    reachable_nodes.units("127.0.0.2", f"small-db-migrate-2.0.0.service loaded {state}")

    with pytest.raises(PrecheckError, match=r"small-db-migrate-2\.0\.0\.service is running on node2"):
        refuse_running_phase(fleet, small_service)


def test_what_has_ended_and_what_is_no_phase_does_not_count(
    reachable_nodes: Sshd, fleet: Fleet, small_service: ServiceProfile
) -> None:
    reachable_nodes.units(
        "127.0.0.2",
        "small-db-expand-2.0.0.service loaded active exited",
        "small-db-migrate-2.0.0.service loaded failed failed",
        "small-dbus-bridge.service loaded active running",
        "other-db-migrate-2.0.0.service loaded active running",
        "small.service loaded active running",
    )

    refuse_running_phase(fleet, small_service)
