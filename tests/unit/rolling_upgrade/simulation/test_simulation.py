"""Whatever goes wrong, in whatever order: what must never happen does not, and the upgrade can be brought to its end.

``SIMULATION_EXAMPLES=5000 pytest …`` looks at that many upgrades that nobody has looked at before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.unit.rolling_upgrade.simulation.beneath import Beneath, simulated
from tests.unit.rolling_upgrade.simulation.incidents import KINDS, Incident, clear, give_up
from tests.unit.rolling_upgrade.simulation.person import (
    assert_refused,
    clear_what_went_back,
    cut_power,
    is_whole,
    until_quiet,
)
from tests.unit.rolling_upgrade.simulation.scenario import Scenario, play, rest_of
from tests.unit.rolling_upgrade.simulation.strategies import few_nodes, scenarios
from tests.unit.rolling_upgrade.simulation.workflow import FINISHED

EXAMPLES = int(os.environ.get("SIMULATION_EXAMPLES", "0"))
"""More examples than usual, of another choice each time; 0 is the usual number, always the same ones."""

CUT_CONTRACT_OFF = (*sorted(KINDS), *["power_off", "power_off_no_boot", "new_run"] * 6)
"""Every incident, and mostly those by which a contract is left half done and another run comes upon it."""


@pytest.fixture(scope="module")
def beneath() -> Iterator[Beneath]:
    with simulated() as under:
        yield under


def checked(count: int) -> Any:
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def ends_well(beneath: Beneath, scenario: Scenario) -> None:
    played = play(beneath, scenario)
    try:
        played.raise_if_broken()
        rest_of(played)
    except AssertionError:
        note(played.told())
        raise


@pytest.mark.timeout(300)
@checked(140)
@given(scenario=scenarios(few_nodes, begins=("", "", "new_node_in.start"), goes_back=(False, False, True)))
def test_nothing_that_must_never_happen_happens_and_the_upgrade_ends_well(beneath: Beneath, scenario: Scenario) -> None:
    ends_well(beneath, scenario)


@pytest.mark.timeout(300)
@checked(60)
@given(
    scenario=scenarios(
        st.integers(2, 3),
        most_incidents=4,
        kinds=CUT_CONTRACT_OFF,
        after=(0, 40),
        begins=("no_old_services", "contract", "contract"),
        goes_back=(False, True),
    )
)
def test_whatever_happens_to_contract_the_old_release_does_not_come_back_on_it(
    beneath: Beneath, scenario: Scenario
) -> None:
    ends_well(beneath, scenario)


@pytest.mark.timeout(300)
@checked(2)
@given(scenario=scenarios(st.integers(20, 50), most_incidents=6))
def test_large_fleets_end_well_too(beneath: Beneath, scenario: Scenario) -> None:
    ends_well(beneath, scenario)


def test_a_contract_that_is_cut_off_is_no_way_back_and_is_ended_by_an_upgrade(beneath: Beneath) -> None:
    played = play(beneath, Scenario(begins="contract"))
    simulation, world = played.simulation, played.simulation.world
    while not world.running_phases():
        simulation.go_on()
    world.power_off(simulation.runs[0].nodes[0])
    assert world.database.half_contracted
    world.power_on(simulation.runs[0].nodes[0])
    give_up(simulation)
    until_quiet(simulation)

    assert_refused(simulation)
    assert not world.database.contracted
    rest_of(played)


def test_a_half_done_upgrade_is_taken_back_from_every_node(beneath: Beneath) -> None:
    played = play(beneath, Scenario(nodes=4, incidents=[Incident(500, "roll_back", 1, None)]))
    simulation, world = played.simulation, played.simulation.world
    assert {machine.current for machine in world.machines.values()} == {"26.1.0", "28.1.0"}
    until_quiet(simulation)

    played.raise_if_broken()
    assert simulation.runs[-1].state == "success"
    assert is_whole(world, "26.1.0")
    assert world.database.expanded
    assert not world.database.half_contracted


@pytest.mark.parametrize("step", ["take_out", "drained"])
def test_no_step_of_a_rollback_takes_a_node_away_after_contract(beneath: Beneath, step: str) -> None:
    played = play(beneath, Scenario(incidents=[Incident(500, "roll_back", 1, None)]))
    simulation = played.simulation
    rest_of(played)
    assert [run.goes_back for run in simulation.runs[:2]] == [False, True]

    cleared = clear_what_went_back(simulation, step)

    played.raise_if_broken()
    assert cleared is not None
    assert "contract to 28.1.0 has begun: 26.1.0 cannot use it" in cleared.failure
    assert is_whole(simulation.world, "28.1.0")


def test_a_stopped_node_that_nobody_took_out_is_not_kept_out_beside_another(beneath: Beneath) -> None:
    played = play(beneath, Scenario(begins="remaining_nodes.switch_release"))
    simulation, world = played.simulation, played.simulation.world
    (run,) = simulation.runs
    done, out = run.nodes[:2]
    assert all(server.taken for server in world.servers_of(out))
    cut_power(world, done)
    stop = run.instances["new_node_out.stop", -1]

    clear(simulation, run, stop, downstream=False)
    while stop.state not in FINISHED:
        simulation.go_on()

    played.raise_if_broken()
    assert stop.state == "failed"
    assert f"{out} is already out" in stop.failure
    assert not world.machines[done].held
    rest_of(played)


def test_a_node_that_is_alone_is_never_taken_out(beneath: Beneath) -> None:
    played = play(beneath, Scenario(nodes=1, goes_on=0))
    until_quiet(played.simulation)

    (run,) = played.simulation.runs
    assert run.state == "failed"
    assert "must stay" in run.instances["new_node_out.take_out", -1].failure
    assert {machine.runs for machine in played.simulation.world.machines.values()} == {"26.1.0"}
