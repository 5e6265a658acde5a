"""Steps beside a real binary log: what they set on the server is put back after success, failure and kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from logging import getLogger
from threading import Thread
from typing import Any

import pytest

from rolling_upgrade.decisions.phases import SchemaState
from rolling_upgrade.decisions.schema_checks import TRUST
from rolling_upgrade.errors import PrecheckError, RollingUpgradeError, UnreachableError, VerifyError
from rolling_upgrade.hooks import log_bin_trust
from rolling_upgrade.hooks.claims import this_run
from rolling_upgrade.operators.closing import VerifyOperator
from rolling_upgrade.operators.database_phase import ContractOperator
from rolling_upgrade.operators.plan import PlanOperator
from tests.integration.parts.fleets import NAME, SCHEMA, context
from tests.integration.parts.mariadb import BINARY_LOG, OPERATOR, OPERATOR_GRANTS, MariaDB, mariadb
from tests.integration.parts.processes import until
from tests.integration.parts.schema_world import SchemaWorld

pytestmark = pytest.mark.integration

LOG = getLogger(__name__)
START = "--unit=small-db-expand-2.0.0.service"
"""What systemd-run is given first."""
ENDED_WELL = "LoadState=loaded\nActiveState=active\nSubState=exited\nResult=success\nExecMainStatus=0\n"


@pytest.fixture(scope="module")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """In place of the one without a binary log."""
    with mariadb(tmp_path_factory.mktemp("log"), *BINARY_LOG) as server:
        yield server


@pytest.fixture
def world(trusting_world: SchemaWorld) -> SchemaWorld:
    return trusting_world


def test_without_privilege_it_is_refused_and_nothing_was_changed(world: SchemaWorld) -> None:
    world.forbid_trust()
    before = world.state()

    for step in (world.check, world.expand):
        with pytest.raises(PrecheckError) as caught:
            step()
        assert (
            "the server writes a binary log, glance@% has no SUPER, and log_bin_trust_function_creators is 0: "
            "it could not make triggers" in caught.value.found
        )
        assert "`SET GLOBAL log_bin_trust_function_creators = 1;` until contract has run" in caught.value.next_step
        assert "`database: {set_log_bin_trust: true}` in the fleet file" in caught.value.next_step

    assert world.state() == before
    assert not world.trusts


def test_an_operator_who_may_not_set_it_is_told_so_and_nothing_was_changed(world: SchemaWorld) -> None:
    world.database.user(OPERATOR, SCHEMA, *OPERATOR_GRANTS)
    before = world.state()

    for step in (world.check, world.expand):
        with pytest.raises(PrecheckError, match="the operator's login may not: Access denied") as caught:
            step()
        assert "grant that login BINLOG ADMIN (MariaDB from 10.5)" in caught.value.next_step

    assert world.state() == before


@pytest.mark.parametrize("value", [0, 1])
def test_asking_whether_it_may_be_set_sets_nothing(world: SchemaWorld, value: int) -> None:
    world.database.run(f"SET GLOBAL {TRUST} = {value}")

    assert world.check()["changed"] is False

    assert world.trusts is bool(value)
    assert world.remembered == []


class Trying(Thread):
    """A step in a worker of its own, as far as it comes."""

    def __init__(self, step: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.step = step
        self.result: Any = None

    def run(self) -> None:
        try:
            self.result = self.step()
        except RollingUpgradeError as error:
            self.result = error


def test_a_phase_that_cannot_be_started_leaves_the_setting_as_it_was(world: SchemaWorld) -> None:
    """The unit that systemd-run was asked for is not there afterwards."""
    expand = Trying(world.expand)
    with world.ssh.held(START) as waits:
        expand.start()
        until(waits, "expand's start")
        assert world.trusts, "it is set before the phase is started"
    expand.join()
    with pytest.raises(VerifyError, match="expand left no unit behind"):
        world.see_end("expand")

    assert not world.trusts
    assert world.remembered == []


def test_a_phase_that_ended_well_leaves_the_setting_as_it_was(world: SchemaWorld) -> None:
    expand = Trying(world.expand)
    with world.ssh.held(START) as waits:
        expand.start()
        until(waits, "expand's start")
        assert world.trusts
        ends_well(world)
    expand.join()
    assert expand.result["changed"] is True
    assert world.see_end("expand")["did"].startswith("expand is complete")

    assert not world.trusts
    assert world.remembered == []


def ends_well(world: SchemaWorld) -> None:
    """What expand leaves behind."""
    world.database.at("one_contract", "two_expand")
    world.ssh.unit.write_text(ENDED_WELL)


def test_a_later_try_that_finds_the_phase_done_puts_it_back(world: SchemaWorld) -> None:
    """The worker that waited was killed; the unit ended well meanwhile."""
    log_bin_trust.allow(world.fleet)
    ends_well(world)

    assert world.expand()["changed"] is False

    assert not world.trusts
    assert world.remembered == []


def test_a_phase_that_is_refused_puts_back_what_a_dead_try_had_set(world: SchemaWorld) -> None:
    log_bin_trust.allow(world.fleet)
    world.database.at("zero_contract")

    with pytest.raises(PrecheckError, match="the schema is at zero_contract"):
        world.expand()

    assert not world.trusts


@pytest.mark.parametrize("step", ["expand found done", "plan's", "verify's"])
def test_it_is_not_taken_from_a_phase_that_runs(world: SchemaWorld, step: str) -> None:
    log_bin_trust.allow(world.fleet)
    ends_well(world)
    world.ssh.units("127.0.0.2", "small-db-contract-2.0.0.service loaded active running")

    if step == "expand found done":
        assert world.expand()["changed"] is False
    elif step == "plan's":
        log_bin_trust.put_back_if_idle(world.fleet, world.profile, LOG)
    else:
        with pytest.raises(PrecheckError, match=r"small-db-contract-2\.0\.0\.service is running on node2"):
            log_bin_trust.put_back_when_idle(world.fleet, world.profile)

    assert world.trusts
    assert world.remembered == [(SCHEMA, 0)]


def killed_in_expand(world: SchemaWorld) -> None:
    """A worker that starts expand is killed while it does so."""
    with world.ssh.held(START) as waits:
        worker = multiprocessing.get_context("fork").Process(target=Trying(world.expand).run)
        worker.start()
        until(waits, "expand's start")
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert world.trusts
    assert world.remembered == [(SCHEMA, 0)]


def test_after_a_kill_the_next_try_puts_it_back(world: SchemaWorld) -> None:
    killed_in_expand(world)
    ends_well(world)

    world.expand()

    assert not world.trusts
    assert world.remembered == []


def test_after_a_kill_verify_puts_it_back(world: SchemaWorld) -> None:
    killed_in_expand(world)

    with suppress(VerifyError, UnreachableError):  # what else it finds of this fleet is of other tests
        VerifyOperator(task_id="verify", fleet=NAME).execute(context(world.fleet))

    assert not world.trusts
    assert world.remembered == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_after_a_kill_the_plan_of_a_next_run_puts_it_back(world: SchemaWorld, dry_run: bool) -> None:
    killed_in_expand(world)
    me = this_run(context(world.fleet)["ti"])

    PlanOperator(task_id="plan", fleet=NAME)._claim(world.fleet, me, dry_run=dry_run)

    assert world.trusts is dry_run, "a dry run changes nothing"


def test_contract_is_let_as_well(world: SchemaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.database.at("one_contract", "two_expand")
    monkeypatch.setattr("rolling_upgrade.operators.database_phase.why_old_services_may_remain", lambda *_: [])
    monkeypatch.setattr("rolling_upgrade.operators.database_phase.schema_state", lambda *_: SchemaState.CONTRACT_NEEDED)
    contract = ContractOperator(task_id="contract", fleet=NAME, node="node1")
    step = Trying(lambda: contract.execute(context(world.fleet)))
    with world.ssh.held(START.replace("expand", "contract")) as waits:
        step.start()
        until(waits, "contract's start")
        assert world.trusts
    step.join()
    with pytest.raises(VerifyError):
        world.see_end("contract")

    assert not world.trusts
