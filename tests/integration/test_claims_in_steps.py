"""No step of a run touches a fleet that another run holds; the plan claims it, the report lets it go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import HeldError, RefusedError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.hooks.balancer import Admin
from rolling_upgrade.hooks.claims import hold
from rolling_upgrade.operators.backup import BackupDatabaseOperator
from rolling_upgrade.operators.check_database import CheckDatabaseOperator
from rolling_upgrade.operators.closing import ReportOperator
from rolling_upgrade.operators.database_phase import ContractOperator, ExpandOperator, MigrateOperator
from rolling_upgrade.operators.plan import PlanOperator
from rolling_upgrade.operators.preflight import PreflightOperator
from rolling_upgrade.operators.rotation import ReturnToRotationOperator, TakeOutOperator
from rolling_upgrade.operators.service import StartOperator, StopOperator, SwitchReleaseOperator
from rolling_upgrade.operators.stage_release import StageReleaseOperator
from rolling_upgrade.operators.step import NodeOperator, NodeStep
from rolling_upgrade.triggers.drained import DrainedTrigger
from tests.integration.parts.fleets import NAME, NEW, OLD, RUN, context, plan
from tests.integration.parts.mariadb import OPERATOR, MariaDB
from tests.integration.parts.processes import free_port
from tests.integration.parts.services import service
from tests.integration.parts.site import Site
from tests.integration.parts.tasks import Task, events_of, failure_of, runs, states

pytestmark = pytest.mark.integration

URL = "https://airflow.example.org"
ME = Holder(URL, NAME, RUN)
OTHER = Holder(URL, "rollback", "other")
IN, DRAINING, OUT = Rotation.IN, Rotation.DRAINING, Rotation.MAINTENANCE
STEPS = [
    PreflightOperator, StageReleaseOperator, CheckDatabaseOperator, TakeOutOperator, StopOperator,
    SwitchReleaseOperator, ExpandOperator, MigrateOperator, StartOperator, ReturnToRotationOperator, ContractOperator,
]  # fmt: skip


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The runs of this Airflow, which has an address of its own."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"{URL}/")
    both = {RUN: "running", "other": "running"}
    runs(monkeypatch, both)
    return both


def holders(database: MariaDB) -> list[str]:
    return [row[0] for row in database.run("SELECT run_id FROM rolling_upgrade.claims")]


def node_step(operator: type[NodeOperator], site: Site, **xcoms: object) -> Any:
    asks: dict[type[NodeOperator], dict[str, str]] = {
        StopOperator: {"drained": "drained"},
        ReturnToRotationOperator: {"left": "take_out"},
    }
    step = operator(task_id="step", fleet=NAME, node="node1", **asks.get(operator, {}))
    return step.execute(context(site.fleet, **xcoms))


@pytest.mark.parametrize("operator", STEPS)
def test_no_step_touches_a_node_while_another_run_holds_the_fleet(
    site: Site, database: MariaDB, small_catalogue: Catalogue, operator: type[NodeOperator]
) -> None:
    hold(site.fleet, OTHER)
    site.cut_off("node1")  # It would be noticed if the node were even asked.

    with pytest.raises(HeldError, match=r"fleet it is held by run other of rollback \(https://airflow\.example\.org\)"):
        node_step(operator, site, backup_database={"x": 1}, migration_complete={"x": 1})

    assert site.ssh.told == []
    assert site.rotation() == [IN, IN]
    assert holders(database) == ["other"]


def test_no_step_on_a_node_was_left_out() -> None:
    def kinds(cls: type[NodeOperator]) -> set[type[NodeOperator]]:
        return {one for below in cls.__subclasses__() for one in kinds(below)} or {cls}

    assert {cls for cls in kinds(NodeOperator) if cls.__module__.startswith("rolling_upgrade.")} == set(STEPS)


def test_no_dump_is_made_while_another_run_holds_the_fleet(site: Site, database: MariaDB) -> None:
    hold(site.fleet, OTHER)

    with pytest.raises(HeldError, match="run other of rollback"):
        BackupDatabaseOperator(task_id="backup_database", fleet=NAME).execute(context(site.fleet))

    assert not Path(site.fleet.backup.directory).exists()


def test_a_step_of_an_old_run_claims_a_free_fleet_again(site: Site, database: MariaDB) -> None:
    assert site.take_out()["changed"] is True

    assert holders(database) == [RUN]


def test_a_step_takes_over_from_a_run_that_is_over(site: Site, database: MariaDB, known: dict[str, str]) -> None:
    hold(site.fleet, OTHER)
    known["other"] = "failed"

    assert site.take_out()["changed"] is True
    assert holders(database) == [RUN]


class PutBack(NodeOperator):
    """A step that returns a node to safety."""

    needs_claim = False

    def step(self, step: NodeStep, context: Any) -> Record:
        step.balancers.set_where(step.node.server_name, Admin.READY, lambda view: True)
        return record("is back", changed=True)


@pytest.mark.parametrize("silent", [False, True])
def test_a_step_that_only_returns_to_safety_needs_no_claim(site: Site, database: MariaDB, silent: bool) -> None:
    hold(site.fleet, OTHER)
    if silent:
        site.set_connection("it_database", database.connection(OPERATOR, port=free_port()))

    assert node_step(PutBack, site)["did"] == "is back"


@pytest.fixture
def _deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, {"wait_0": "deferred"})


def drain_to_failure(site: Site, timeout: int) -> str:
    task = Task(replace(plan(site.fleet), drain_timeout_seconds=timeout), map_index=0)
    return failure_of(events_of(DrainedTrigger(fleet=NAME, nodes_from="plan"), task))


@pytest.mark.usefixtures("_deferred")
def test_a_drain_that_was_cleared_takes_no_node_out_of_a_fleet_that_another_run_holds(
    site: Site, database: MariaDB
) -> None:
    hold(site.fleet, OTHER)

    said = drain_to_failure(site, 60)

    assert "fleet it is held by run other of rollback" in said
    assert site.rotation() == [IN, IN]
    for lb in site.balancers:
        assert "service/node1 enters drain" not in lb.log, "not for a moment either"


@pytest.mark.usefixtures("_deferred")
def test_a_drain_does_not_end_in_maintenance_where_another_run_holds_the_fleet(site: Site, database: MariaDB) -> None:
    hold(site.fleet, OTHER)
    site.set_everywhere("node1", Admin.DRAIN)

    said = drain_to_failure(site, 60)

    assert "fleet it is held by run other of rollback" in said.splitlines()[0]
    assert said.endswith(
        "node1 was left as it is: fleet it is held by run other of rollback (https://airflow.example.org)"
    )
    assert site.rotation() == [DRAINING, DRAINING]


@pytest.mark.usefixtures("_deferred")
def test_a_node_that_another_run_has_taken_out_is_not_put_back(site: Site, database: MariaDB) -> None:
    """Its service may be stopped, or about to be."""
    hold(site.fleet, OTHER)
    site.set_everywhere("node1", Admin.MAINT)
    site.cut_off("node1")

    said = drain_to_failure(site, 0)

    assert "node1 was left as it is" in said
    assert site.rotation() == [OUT, OUT]


@pytest.mark.usefixtures("_deferred")
def test_a_node_is_put_back_though_the_database_does_not_answer(site: Site, database: MariaDB) -> None:
    site.set_everywhere("node1", Admin.DRAIN)
    site.set_connection("it_database", database.connection(OPERATOR, port=free_port()))

    said = drain_to_failure(site, 0)

    assert said.endswith("put back into rotation on lb1, lb2")
    assert site.rotation() == [IN, IN]


@pytest.fixture
def serving(
    site: Site, database: MariaDB, small_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A fleet on the old release, such as a plan is made for."""
    monkeypatch.setattr("rolling_upgrade.operators.plan.load_catalogue", lambda: small_catalogue)
    database.at("one_contract")
    with service(site.root, f"releases/{OLD}", site.profile.port):
        yield site


def make_plan(site: Site, **form: object) -> tuple[Any, list[str]]:
    """What `plan` returns, and the keys of what it leaves for later tasks."""
    left: list[str] = []
    given = context(site.fleet)
    given["params"] = {"target_release": NEW, **form}
    given["ti"].xcom_push = lambda key, value: left.append(key)
    given["task"] = SimpleNamespace(get_flat_relatives=lambda upstream: [])
    return PlanOperator(task_id="plan", fleet=NAME).execute(given), left


def test_the_plan_claims_the_fleet(serving: Site, database: MariaDB) -> None:
    assert make_plan(serving) == (["node1", "node2", "node3"], ["plan"])
    assert database.run("SELECT airflow, dag_id, run_id FROM rolling_upgrade.claims") == [(URL, NAME, RUN)]

    assert make_plan(serving)[1] == ["plan"], "cleared, it holds the fleet already"


def test_a_plan_is_refused_by_the_name_of_the_run_that_holds_the_fleet(serving: Site, database: MariaDB) -> None:
    hold(serving.fleet, OTHER)

    with pytest.raises(HeldError, match="fleet it is held by run other of rollback"):
        make_plan(serving)

    assert holders(database) == ["other"]


def test_what_the_other_run_does_to_the_fleet_is_not_what_a_plan_is_refused_for(
    serving: Site, database: MariaDB
) -> None:
    hold(serving.fleet, OTHER)
    database.at("unheard_of")
    serving.set_everywhere("node3", Admin.MAINT)

    with pytest.raises(HeldError, match="fleet it is held by run other of rollback"):
        make_plan(serving)


def test_a_plan_that_is_refused_leaves_no_claim(serving: Site, database: MariaDB) -> None:
    database.at("unheard_of")

    with pytest.raises(RefusedError, match="unheard_of"):
        make_plan(serving)

    assert "rolling_upgrade" not in {row[0] for row in database.run("SHOW DATABASES")}


@pytest.mark.parametrize("held", [False, True])
def test_a_dry_run_says_who_holds_the_fleet_and_claims_nothing(
    serving: Site, database: MariaDB, capfd: pytest.CaptureFixture[str], held: bool
) -> None:
    from airflow.sdk.exceptions import DownstreamTasksSkipped

    if held:
        hold(serving.fleet, OTHER)

    with pytest.raises(DownstreamTasksSkipped):
        make_plan(serving, dry_run=True)

    assert ("the fleet is held by run other of rollback" if held else "the fleet is free") in capfd.readouterr().out
    if held:
        assert holders(database) == ["other"]
    else:
        assert "rolling_upgrade" not in {row[0] for row in database.run("SHOW DATABASES")}


def report(site: Site) -> dict[str, Any]:
    given = context(site.fleet, verify={"db_check": 0, "db_heads": [], "proven": {}})
    given["dag_run"] = SimpleNamespace(start_date=datetime.now(UTC))
    return ReportOperator(task_id="report", fleet=NAME).execute(given)


def test_the_report_lets_the_next_run_have_the_fleet(site: Site, database: MariaDB) -> None:
    hold(site.fleet, ME)

    assert report(site)["run_id"] == RUN

    assert holders(database) == []


def test_the_report_leaves_the_claim_of_another_run(site: Site, database: MariaDB) -> None:
    hold(site.fleet, OTHER)

    report(site)

    assert holders(database) == ["other"]


def test_a_run_that_is_done_does_not_fail_because_its_claim_stays(
    site: Site, database: MariaDB, capfd: pytest.CaptureFixture[str]
) -> None:
    hold(site.fleet, ME)
    site.set_connection("it_database", database.connection(OPERATOR, port=free_port()))

    assert report(site)["run_id"] == RUN
    assert "still holds the fleet, until another run of this Airflow takes over" in capfd.readouterr().out
