"""The table of drills, as far as it can be read without a lab."""

from __future__ import annotations

import pytest

from include.lab.faults import registry
from include.lab.faults.fault import Injection
from tests.drills.drill import NODES, Drill, Fault, Kill, Step
from tests.drills.run import before
from tests.drills.table import DRILLS


def test_names_are_unique() -> None:
    names = [drill.name for drill in DRILLS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_the_lab_takes_every_fault(drill: Drill) -> None:
    for fault in (drill.fault, *drill.given):
        if isinstance(fault, Fault):
            injection = Injection(
                fault.name,
                node=fault.node,
                balancer=fault.balancer,
                release=fault.release,
                archive=fault.archive,
                seconds=fault.seconds,
            )
            registry.check_options(injection)


def test_every_fault_of_the_lab_has_a_drill() -> None:
    used = {drill.fault.name for drill in DRILLS if isinstance(drill.fault, Fault)}
    assert used == {known.name for known in registry.ALL}
    assert {drill.fault for drill in DRILLS if isinstance(drill.fault, Kill)} == set(Kill)


@pytest.mark.parametrize(
    ("step", "key"),
    [
        (Step("expand"), ("expand", -1)),
        (Step("stage_release", "node1"), ("stage_release", 0)),
        (Step("stop", "node1"), ("new_node_out.stop", -1)),
        (Step("start", "node1"), ("new_node_in.start", -1)),
        (Step("drained", "node2"), ("remaining_nodes.drained", 0)),
        (Step("turn", "node3"), ("remaining_nodes.turn", 1)),
    ],
)
def test_a_step_is_known_by_airflows_name_for_it(step: Step, key: tuple[str, int]) -> None:
    assert step.key == key


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step("take_out", "node1"), Step("check_database")),
        (Step("take_out", "node2"), Step("turn", "node2")),
        (Step("stop", "node2"), Step("drained", "node2")),
        (Step("expand"), Step("switch_release", NODES[0])),
        (Step("migrate"), Step("expand_complete")),
        (Step("approve_contract"), Step("no_old_services")),
        (Step("start", "node1"), Step("migration_complete")),
        (Step("start", "node2"), Step("switch_release", "node2")),
        (Step("stage_release", "node3"), Step("preflight", "node3")),
    ],
)
def test_what_a_step_follows(step: Step, expected: Step) -> None:
    assert before(step) == expected
