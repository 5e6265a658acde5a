"""From what was asked to a plan or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolling_upgrade.decisions.planning import Observation, Plan, describe, make_plan, read_request
from rolling_upgrade.errors import RefusedError
from rolling_upgrade.fleet import catalogue as catalogues
from rolling_upgrade.fleet import inventory

FLEET = inventory.load(inventory.PROJECT_ROOT / "include" / "fleets" / "lab.yaml")
CATALOGUE = catalogues.load()
OLD = {"node1": "26.1.0", "node2": "26.1.0", "node3": "26.1.0"}


def form(**values: Any) -> dict[str, Any]:
    return {"target_release": "28.1.0", **values}


def plan(observed: dict[str, str | None] | None = None, **values: Any) -> Plan:
    request = read_request(form(**values), FLEET, CATALOGUE)
    return make_plan(request, Observation(observed or dict(OLD), ("2023_1_contract01",)), FLEET, CATALOGUE)


def test_the_release_alone_upgrades_the_whole_fleet_in_its_order() -> None:
    made = plan()
    assert made.nodes == ("node1", "node2", "node3")
    assert made.drain_timeout_seconds == FLEET.defaults.drain_timeout_seconds
    assert made.soak_seconds == FLEET.defaults.soak_seconds
    assert made.contract == "now"
    assert not made.why_no_contract
    assert not made.dry_run


def test_the_order_picked_is_kept_and_the_new_node_goes_first() -> None:
    assert plan(nodes=["node3", "node1", "node2"]).nodes == ("node3", "node1", "node2")
    assert plan(nodes=["node3", "node1", "node2"], new_node="node2").nodes == ("node2", "node3", "node1")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"target_release": "99.0.0"}, ["99.0.0", "26.1.0, 28.1.0, 30.1.0"]),
        ({"target_release": None}, ["None", "28.1.0"]),
        ({"target_release": ["28.1.0"]}, ["['28.1.0']"]),
        ({"nodes": ["node1", "node9"]}, ["node9", "node1, node2, node3"]),
        ({"nodes": ["node1; rm -rf /"]}, ["node1; rm -rf /"]),
        ({"nodes": "node1"}, ["'node1'"]),
        ({"nodes": [["node1"]]}, ["['node1']"]),
        ({"nodes": ["node1", "node1"]}, ["more than once"]),
        ({"new_node": "node9"}, ["node9"]),
        ({"nodes": ["node1", "node2"], "new_node": "node3"}, ["node3", "node1, node2"]),
        ({"drain_timeout_seconds": 0}, ["drain_timeout_seconds is 0", "from 1 to 86400"]),
        ({"drain_timeout_seconds": 90_000}, ["90000"]),
        ({"drain_timeout_seconds": "60"}, ["'60'"]),
        ({"drain_timeout_seconds": True}, ["True"]),
        ({"soak_seconds": -1}, ["-1", "from 0"]),
        ({"soak_seconds": 1.5}, ["1.5"]),
        ({"dry_run": "yes"}, ["'yes'", "true or false"]),
        ({"max_unavailable": 2}, ["max_unavailable"]),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(values: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(RefusedError) as refused:
        plan(**values)
    for name in names:
        assert name in str(refused.value)
    assert "nothing was touched" in str(refused.value)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_whatever_is_sent_is_planned_or_refused(values: dict[str, Any]) -> None:
    try:
        request = read_request(values, FLEET, CATALOGUE)
    except RefusedError:
        return
    assert set(request.nodes) <= set(FLEET.node_names)


def test_nodes_that_are_there_already_are_passed_over() -> None:
    made = plan({"node1": "28.1.0", "node2": "26.1.0", "node3": "26.1.0"})
    assert made.already_there == ("node1",)
    assert any("node1: passed over" in line for line in describe(made))


def test_a_run_over_a_part_of_the_fleet_does_not_contract() -> None:
    made = plan(nodes=["node1", "node2"])
    assert made.left_behind == ("node3",)
    assert made.why_no_contract
    assert any("contract: not in this run; node3" in line for line in describe(made))


def test_the_rest_of_a_fleet_contracts() -> None:
    made = plan({"node1": "28.1.0", "node2": "28.1.0", "node3": "26.1.0"}, nodes=["node3"])
    assert not made.why_no_contract


def test_a_node_outside_the_run_that_is_not_proven_counts_as_left_behind() -> None:
    assert plan({"node1": "26.1.0", "node2": "26.1.0", "node3": None}, nodes=["node1", "node2"]).left_behind == (
        "node3",
    )


@pytest.mark.parametrize(
    ("running", "target", "word"),
    [("28.1.0", "26.1.0", "older"), ("26.1.0", "30.1.0", "skips a release")],
)
def test_a_jump_that_loses_data_is_refused(running: str, target: str, word: str) -> None:
    with pytest.raises(RefusedError, match=word):
        plan(dict.fromkeys(OLD, running), target_release=target)


def test_a_release_that_the_catalogue_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match=r"27\.9\.9"):
        plan({**OLD, "node2": "27.9.9"})


def test_a_fleet_that_serves_nowhere_is_refused() -> None:
    with pytest.raises(RefusedError, match="is proven to run any release"):
        plan(dict.fromkeys(OLD, None))


def test_a_plan_survives_its_way_through_an_xcom() -> None:
    made = plan(nodes=["node2", "node1"], dry_run=True)
    assert Plan.from_dict(made.to_dict()) == made


def test_a_drain_timeout_is_held_unless_somebody_says_otherwise() -> None:
    assert plan().on_drain_timeout == "hold"
    assert plan(on_drain_timeout="cut").on_drain_timeout == "cut"
    assert "CUT" in "\n".join(describe(plan(on_drain_timeout="cut")))
    assert "CUT" not in "\n".join(describe(plan(on_drain_timeout="ask")))


@pytest.mark.parametrize("value", ["Cut", "kill", True, 1, ["cut"], {"cut": True}])
def test_another_policy_is_refused_by_name(value: object) -> None:
    with pytest.raises(RefusedError, match=r"on_drain_timeout is .*\nExpected: one of hold, ask, cut"):
        plan(on_drain_timeout=value)


def half_done(out: tuple[str, ...], observed: dict[str, str | None] | None = None, **values: Any) -> Plan:
    request = read_request(form(**values), FLEET, CATALOGUE)
    return make_plan(request, Observation(observed or dict(OLD), ("2023_1_contract01",), out), FLEET, CATALOGUE)


def test_a_node_that_an_earlier_run_left_out_goes_first() -> None:
    assert half_done(("node2",), {**OLD, "node2": None}).nodes == ("node2", "node1", "node3")
    assert half_done(("node3", "node2")).nodes == ("node2", "node3", "node1")
    assert half_done(("node3",), new_node="node3").nodes == ("node3", "node1", "node2")


def test_the_order_picked_is_kept_where_no_other_node_must_leave() -> None:
    assert half_done(("node2",), dict.fromkeys(OLD, "28.1.0")).nodes == ("node1", "node2", "node3")


def test_a_new_node_is_refused_while_another_is_out() -> None:
    with pytest.raises(RefusedError, match="new_node is 'node1', and node2 is out of rotation already"):
        half_done(("node2",), new_node="node1")


def test_a_run_that_leaves_out_the_node_that_is_out_is_refused() -> None:
    with pytest.raises(RefusedError, match="node3 is out of rotation and not among the nodes of this run, so node1"):
        half_done(("node3",), nodes=["node1", "node2"])


def test_contract_may_be_left_to_a_later_run_or_to_a_person() -> None:
    assert plan(contract="later").why_no_contract == "the run was asked to leave it to a later one"
    assert "once a person has approved it" in "\n".join(describe(plan(contract="ask")))
    assert "approved" not in "\n".join(describe(plan(contract="now")))
    with pytest.raises(RefusedError, match=r"contract is 'never'.\nExpected: one of ask, now, later"):
        plan(contract="never")


def test_a_fleet_file_that_says_nothing_has_a_person_asked() -> None:
    assert inventory.Defaults().contract == "ask"
