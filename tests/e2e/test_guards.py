"""Each step asked to do what must never happen, on the real fleet: it refuses, and nothing is changed.

The steps are called one by one, without Airflow's scheduler, since no order in a graph may be what protects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from include.demo import lab
from include.lab import settings
from include.lab.waiting import until
from rolling_upgrade.decisions.planning import Observation, make_plan, read_request
from rolling_upgrade.errors import PrecheckError
from rolling_upgrade.fleet import catalogue
from rolling_upgrade.fleet.inventory import load_named
from rolling_upgrade.hooks.balancer import Admin, BalancerHook
from rolling_upgrade.hooks.balancers import Balancers
from rolling_upgrade.hooks.claims import release, this_run
from rolling_upgrade.operators.database_phase import ContractOperator, ExpandOperator, MigrateOperator
from rolling_upgrade.operators.rotation import ReturnToRotationOperator, TakeOutOperator
from rolling_upgrade.operators.service import StartOperator, StopOperator, SwitchReleaseOperator
from rolling_upgrade.operators.stage_release import StageReleaseOperator
from tests.e2e.rehearsal import main_pids, on_node

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OLD, NEW = "26.1.0", "28.1.0"
NODE = "node3"


class Run:
    """What a step asks of its run: the plan, and the records of the steps before it."""

    def __init__(self, **records: Any) -> None:
        fleet, releases = load_named("lab"), catalogue.load()
        request = read_request({"target_release": NEW}, fleet, releases)
        observed = Observation(dict.fromkeys(fleet.node_names, OLD), ("2023_1_contract01",))
        self._records = {"plan": make_plan(request, observed, fleet, releases).to_dict(), **records}

    map_index = -1
    dag_id = "glance_rolling_upgrade_lab"
    run_id = "guards"

    def xcom_pull(self, task_ids: str, **_: Any) -> Any:
        return self._records.get(task_ids)


def call(operator: type[Any], node: str = NODE, after: dict[str, str] | None = None, **records: Any) -> dict[str, Any]:
    """Run one step on that node, as a worker would; ``after`` names the steps that it asks for their records."""
    step = operator(task_id="step", fleet="lab", node=node, **(after or {}))
    done: dict[str, Any] = step.execute({"ti": Run(**records)})
    return done


def status() -> dict[str, Any]:
    return lab.read_json("status", "--json")


def of(node: str) -> dict[str, Any]:
    return next(dict(one) for one in status()["nodes"] if one["name"] == node)


@pytest.fixture(autouse=True)
def _reach_the_lab(fleet_up: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(lab.state() / "fleets"))
    connections = json.loads((settings.from_environment().access / "connections.json").read_text())
    for name, fields in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))
    yield
    release(load_named("lab"), this_run(Run()))


def test_a_node_in_rotation_is_not_stopped() -> None:
    before = main_pids([NODE])
    with pytest.raises(PrecheckError, match=f"{NODE} is not drained"):
        call(StopOperator, after={"drained": "drained"})
    assert main_pids([NODE]) == before


def test_a_running_node_is_not_switched() -> None:
    with pytest.raises(PrecheckError, match="cannot be switched"):
        call(SwitchReleaseOperator)
    assert of(NODE)["current"] == OLD


def test_a_second_node_does_not_leave_while_one_is_out() -> None:
    call(TakeOutOperator, "node1")
    try:
        with pytest.raises(PrecheckError, match="node1 is already out on lb1"):
            call(TakeOutOperator, "node2")
        assert set(of("node2")["rotation"].values()) == {"UP"}
    finally:
        _ready("node1")


def test_expand_waits_for_a_backup() -> None:
    with pytest.raises(PrecheckError, match="no backup of the database is recorded"):
        call(ExpandOperator, "node1")
    assert status()["database_heads"] == ["2023_1_contract01"]


def test_migrate_waits_for_expand() -> None:
    with pytest.raises(PrecheckError, match="expand first"):
        call(MigrateOperator, "node1")


def test_contract_waits_for_every_node() -> None:
    with pytest.raises(PrecheckError) as refused:
        call(ContractOperator, "node1")
    for node in ("node1", "node2", "node3"):
        assert f"{node}: pid" in str(refused.value)
    assert status()["database_heads"] == ["2023_1_contract01"]


@pytest.fixture
def switched_node() -> Iterator[None]:
    """A node out of rotation, stopped and switched to the new release, while the database is still the old one."""
    call(StageReleaseOperator)
    call(TakeOutOperator)
    for balancer in _hooks():
        balancer.set_state(NODE, Admin.MAINT)
    on_node(NODE, "systemctl", "stop", "glance-api")
    call(SwitchReleaseOperator)
    yield
    on_node(NODE, "ln", "-sfn", f"releases/{OLD}", "/opt/glance/current")
    on_node(NODE, "systemctl", "restart", "glance-api")
    _ready(NODE)


@pytest.mark.usefixtures("switched_node")
def test_a_node_neither_starts_nor_returns_before_migration_is_complete() -> None:
    with pytest.raises(PrecheckError, match="migration_complete has not been seen"):
        call(StartOperator)
    with pytest.raises(PrecheckError, match="expanded and migrated"):
        call(StartOperator, migration_complete={"did": "of another run's database"})
    assert of(NODE)["releases"] == []
    with pytest.raises(PrecheckError, match=f"is not proven to run {NEW}"):
        call(ReturnToRotationOperator, after={"left": "take_out"})
    assert set(of(NODE)["rotation"].values()) == {"MAINT"}


def _hooks() -> list[BalancerHook]:
    return list(Balancers.from_connections(load_named("lab")).hooks)


def _ready(node: str) -> None:
    for balancer in _hooks():
        balancer.set_state(node, Admin.READY)
    until(lambda: set(of(node)["rotation"].values()) == {"UP"}, f"{node} UP on every balancer", seconds=60)
