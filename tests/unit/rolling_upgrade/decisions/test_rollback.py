"""A rollback goes to the release before, as long as the schema serves it."""

from __future__ import annotations

from typing import Any

import pytest

from rolling_upgrade.decisions.planning import Observation, Plan, describe
from rolling_upgrade.decisions.rollback import FIELDS, Schema, make_rollback_plan, read_rollback
from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet.catalogue import load as load_catalogue
from rolling_upgrade.fleet.inventory import PROJECT_ROOT
from rolling_upgrade.fleet.inventory import load as load_fleet

CATALOGUE = load_catalogue()
FLEET = load_fleet(PROJECT_ROOT / "include" / "fleets" / "lab.yaml")
OLD, NEW, NEWEST = "26.1.0", "28.1.0", "30.1.0"
BEFORE = ("2023_1_contract01",)
EXPANDED = ("2023_1_contract01", "2024_1_expand01")
CONTRACTED = ("2024_1_contract01",)


def observed(*releases: str | None, heads: tuple[str, ...] = EXPANDED, out: tuple[str, ...] = ()) -> Observation:
    return Observation(dict(zip(FLEET.node_names, releases, strict=True)), heads, out)


def plan(seen: Observation, *, begun: str | None = None, **form: Any) -> Plan:
    schema = Schema(seen.heads, CATALOGUE.release(begun) if begun else None, "DELETE …;")
    return make_rollback_plan(read_rollback(form, FLEET, CATALOGUE, seen, schema), seen, FLEET, CATALOGUE, schema)


@pytest.mark.parametrize(
    ("releases", "heads"),
    [
        ((NEW, NEW, NEW), EXPANDED),
        ((NEW, OLD, OLD), EXPANDED),
        ((NEW, None, OLD), EXPANDED),
        ((None, OLD, OLD), EXPANDED),
        ((None, OLD, OLD), BEFORE),
    ],
    ids=["all done", "half done", "a second node stopped", "the new node stopped", "stopped before expand"],
)
def test_the_release_before_is_found_wherever_the_upgrade_stopped(
    releases: tuple[str | None, ...], heads: tuple[str, ...]
) -> None:
    made = plan(observed(*releases, heads=heads))
    assert (made.target_release, made.goes_back) == (OLD, True)
    assert made.already_there == tuple(n for n, r in zip(FLEET.node_names, releases, strict=True) if r == OLD)


def test_what_has_nothing_to_contract_can_go_back_at_any_time() -> None:
    assert plan(observed(NEWEST, NEWEST, NEWEST, heads=CONTRACTED)).target_release == NEW


def test_after_contract_it_is_refused_with_the_way_to_restore() -> None:
    with pytest.raises(
        RefusedError, match=r"contract has run, if the fleet was ever upgraded: no release before 28\.1\.0 can use it"
    ) as refused:
        plan(observed(NEW, NEW, NEW, heads=CONTRACTED))
    assert "docs/recovery.md" in refused.value.next_step
    with pytest.raises(
        RefusedError,
        match=r"contract has run, if the fleet was ever upgraded: no release as old as 26\.1\.0 can use it",
    ):
        plan(observed(NEW, NEW, NEW, heads=CONTRACTED), target_release=OLD)


def test_a_contract_that_was_cut_off_counts_as_one() -> None:
    with pytest.raises(RefusedError, match=r"contract to 28\.1\.0 has begun: no release before 28\.1\.0") as refused:
        plan(observed(NEW, NEW, NEW), begun=NEW)
    assert "DELETE …;" in refused.value.next_step
    with pytest.raises(RefusedError, match=r"contract to 28\.1\.0 has begun"):
        plan(observed(NEW, NEW, NEW), begun=NEW, target_release=OLD)


def test_a_contract_that_had_nothing_to_do_forbids_nothing() -> None:
    assert plan(observed(NEWEST, NEWEST, NEWEST, heads=CONTRACTED), begun=NEWEST).target_release == NEW


def test_a_fleet_that_was_never_upgraded_has_nothing_to_go_back_to() -> None:
    with pytest.raises(RefusedError, match=r"no release before 26\.1\.0"):
        plan(observed(OLD, OLD, OLD, heads=BEFORE))


def test_a_node_that_runs_an_older_release_is_not_upgraded_by_a_rollback() -> None:
    with pytest.raises(RefusedError, match=r"node2 runs 26\.1\.0, and 28\.1\.0 is not the release before it"):
        plan(observed(NEWEST, OLD, NEWEST, heads=CONTRACTED), target_release=NEW)


def test_two_releases_back_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"skips a release"):
        plan(observed(NEWEST, NEWEST, NEWEST), target_release=OLD)


def test_a_node_that_only_left_rotation_comes_back() -> None:
    made = plan(observed(OLD, OLD, OLD, heads=BEFORE, out=("node1",)))
    assert (made.target_release, made.nodes[0]) == (OLD, "node1")


def test_a_node_that_is_out_goes_first() -> None:
    assert plan(observed(NEW, None, OLD, out=("node2",))).nodes == ("node2", "node1", "node3")


def test_a_fleet_that_serves_nothing_is_refused() -> None:
    with pytest.raises(RefusedError, match="is proven to run any release"):
        plan(observed(None, None, None), target_release=OLD)


def test_fields_of_the_upgrade_are_refused_by_name() -> None:
    with pytest.raises(RefusedError, match="field 'contract' is not known"):
        plan(observed(NEW, NEW, NEW), contract="now")
    assert "new_node" not in FIELDS


def test_the_plan_says_that_the_database_stays() -> None:
    lines = describe(plan(observed(NEW, NEW, OLD)))
    assert "node1: 28.1.0 -> 26.1.0" in lines
    assert "node3: passed over" in lines
    assert "database: stays as it is; it serves both releases until contract" in lines
    assert not any("contract: " in line or "new node" in line for line in lines)


def test_a_plan_survives_its_way_through_airflow() -> None:
    made = plan(observed(NEW, NEW, OLD))
    assert Plan.from_dict(made.to_dict()) == made
