"""The proof before contract: anything old, unknown or silent, anywhere, is a reason against it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.fleet.catalogue import Catalogue
from rolling_upgrade.hooks.fleet_proof import why_old_services_may_remain
from rolling_upgrade.operators.database_phase import ContractOperator
from rolling_upgrade.triggers.no_old_services import PROOF_SECONDS, NoOldServicesTrigger
from rolling_upgrade.triggers.waiting import Skip
from tests.integration.parts.fleets import NAME, NEW, OLD, SCHEMA, context
from tests.integration.parts.mariadb import OPERATOR, SERVICE, MariaDB
from tests.integration.parts.processes import free_port
from tests.integration.parts.services import service, switch
from tests.integration.parts.site import SetConnection, Site

pytestmark = pytest.mark.integration


@pytest.fixture
def upgraded(site: Site, database: MariaDB) -> Iterator[Site]:
    """Every node runs the new release and nothing else, and the service of one has a session on the database."""
    session = database.connect(SERVICE, SCHEMA)
    switch(site.root, NEW)
    for lb in site.balancers:
        for node in site.fleet.nodes:
            lb.point(node.server_name, node.address, site.profile.port)
    with service(site.root, f"releases/{NEW}", site.profile.port):
        yield site
    session.close()


def reasons(site: Site) -> list[str]:
    return why_old_services_may_remain(site.fleet, site.profile, NEW)


def trigger() -> NoOldServicesTrigger:
    return NoOldServicesTrigger(fleet=NAME, nodes_from="plan")


def test_a_fleet_that_is_proven_to_its_last_process_and_session_gives_no_reason(upgraded: Site) -> None:
    assert reasons(upgraded) == []

    record = trigger().poll(upgraded.wait())

    assert isinstance(record, dict)
    assert (record["did"], record["nodes"]) == (f"every node runs {NEW} and nothing else", ["node1", "node2", "node3"])


def test_an_old_process_beside_the_new_one_is_named(upgraded: Site) -> None:
    with service(upgraded.root, f"releases/{OLD}", upgraded.profile.port) as old:
        found = reasons(upgraded)

    # One machine stands for all three nodes here.
    assert [reason.partition(":")[0] for reason in found] == ["node1", "node2", "node3"]
    assert all(f"pid {old.pid} " in reason and f"release {OLD} is not of {NEW}" in reason for reason in found)


def test_a_node_that_does_not_answer_proves_nothing(upgraded: Site) -> None:
    upgraded.cut_off("node2")

    (reason,) = reasons(upgraded)

    assert reason.startswith("node2: not proven; node node2 (127.0.0.2) cannot be asked over SSH")


def test_a_node_whose_answer_cannot_be_read_proves_nothing(upgraded: Site) -> None:
    upgraded.ssh.unit.write_text("ActiveState=active\nNRestarts=many\n")

    assert [reason.partition(";")[0] for reason in reasons(upgraded)] == [f"node{n}: not proven" for n in (1, 2, 3)]


def test_a_server_that_is_no_node_of_the_fleet_is_named(upgraded: Site) -> None:
    upgraded.fleet = upgraded.fleet.model_copy(update={"nodes": upgraded.fleet.nodes[:2]})

    assert reasons(upgraded) == [f"lb{n} has a server node3 that is no node of the fleet" for n in (1, 2)]


def test_a_server_that_is_not_where_its_node_is_is_named(upgraded: Site) -> None:
    upgraded.balancers[1].point("node3", "127.0.0.9", upgraded.profile.port)

    port = upgraded.profile.port
    assert reasons(upgraded) == [f"lb2 has its server node3 at 127.0.0.9:{port}, and the node is at 127.0.0.3:{port}"]


def test_a_process_from_before_the_switch_is_named(upgraded: Site) -> None:
    began = time.time()
    switch(upgraded.root, NEW)
    os.utime(upgraded.root / "current", (began + 60, began + 60), follow_symlinks=False)

    found = reasons(upgraded)

    assert [reason.partition(":")[0] for reason in found] == ["node1", "node2", "node3"]
    assert all(f"before the switch to {NEW}" in reason for reason in found)


def test_a_node_that_the_next_start_would_bring_back_is_named(upgraded: Site) -> None:
    switch(upgraded.root, OLD)

    assert all(f"current names {OLD}, so the next start would bring that" in reason for reason in reasons(upgraded))


def test_a_balancer_that_does_not_answer_could_hide_a_server(upgraded: Site) -> None:
    upgraded.balancers[1].stop()

    (reason,) = reasons(upgraded)

    assert reason.startswith("balancers: balancer lb2 cannot be asked")


def test_a_database_session_from_elsewhere_is_named(upgraded: Site, database: MariaDB) -> None:
    stranger = database.connect(SERVICE, SCHEMA, local=True)
    try:
        assert reasons(upgraded) == [
            "a database session of the service's user comes from localhost, which is no node of the fleet"
        ]
    finally:
        stranger.close()


def test_a_database_that_does_not_answer_could_hide_a_session(
    upgraded: Site, database: MariaDB, set_connection: SetConnection
) -> None:
    set_connection("it_database", database.connection(OPERATOR, port=free_port()))

    (reason,) = reasons(upgraded)

    assert reason.startswith("database: the database of connection it_database cannot be asked")


def test_the_wait_goes_on_while_there_is_a_reason_and_ends_with_all_of_them(upgraded: Site) -> None:
    upgraded.cut_off("node2")
    upgraded.balancers[1].stop()

    assert trigger().poll(upgraded.wait(since_seconds=PROOF_SECONDS - 20)) is None
    with pytest.raises(VerifyError, match=r"it is not proven .*node2: not proven; .*; balancers: balancer lb2"):
        trigger().poll(upgraded.wait(since_seconds=PROOF_SECONDS + 1))


def test_a_run_that_leaves_nodes_behind_asks_nobody_and_skips(site: Site) -> None:
    wait = site.wait()

    outcome = trigger().poll(replace(wait, plan=replace(wait.plan, left_behind=("node3",))))

    assert isinstance(outcome, Skip)
    assert outcome.why.startswith("no contract in this run: node3 keep another release and need the old schema.")


def test_contract_asks_for_the_proof_itself(upgraded: Site, database: MariaDB, small_catalogue: Catalogue) -> None:
    database.at("two_expand")
    contract = ContractOperator(task_id="contract", fleet=NAME, node="node1")

    left = pytest.raises(PrecheckError, match=rf"an old service may be left: node1: pid .*release {OLD} is not of")
    with service(upgraded.root, f"releases/{OLD}", upgraded.profile.port), left:
        contract.execute(context(upgraded.fleet))

    assert upgraded.ssh.told == []
