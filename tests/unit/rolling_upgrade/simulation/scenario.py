"""One simulated upgrade with its incidents, from the first task to the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from rolling_upgrade.fleet.inventory import PROJECT_ROOT, Fleet
from tests.unit.rolling_upgrade.simulation.beneath import REAL_CATALOGUE, Beneath
from tests.unit.rolling_upgrade.simulation.incidents import Incident, Lift, form, strike
from tests.unit.rolling_upgrade.simulation.invariants import BrokenError, Invariants
from tests.unit.rolling_upgrade.simulation.person import assert_refused, clear_what_went_back, is_whole, see_through
from tests.unit.rolling_upgrade.simulation.simulation import Simulation
from tests.unit.rolling_upgrade.simulation.workflow import Graph, Run
from tests.unit.rolling_upgrade.simulation.world import World

NAME = "lab"
MOST_STEPS = 5000
"""How long the beginning of a task is awaited; a drain that did not end in time may keep it from beginning."""


@dataclass(frozen=True)
class Scenario:
    """What an example is made of."""

    nodes: int = 3
    balancers: int = 2
    least: int | None = None
    versions: tuple[str, str] = ("26.1.0", "28.1.0")
    seed: int = 0
    incidents: tuple[Incident, ...] | list[Incident] = ()
    goes_on: int = 150
    """How many steps faults may last beyond the last incident."""
    begins: str = ""
    """The task whose beginning the first incident follows; nothing: the beginning of the run."""
    goes_back: bool = False
    """What has become of it is rolled back, and upgraded anew."""


@dataclass
class Played:
    """A simulation in which everything has happened that was to happen."""

    scenario: Scenario
    simulation: Simulation
    invariants: Invariants

    def raise_if_broken(self) -> None:
        if self.invariants.broken:
            raise self.invariants.broken

    def told(self) -> str:
        return "\n".join(self.simulation.world.trace)


def fleet_of(scenario: Scenario) -> Fleet:
    """The inventory of a fleet of that size."""
    least = None if scenario.least is None else min(scenario.least, scenario.nodes - 1)
    return Fleet.model_validate(
        {
            "name": NAME,
            "service": "glance",
            "nodes": [
                {"name": f"node{i}", "address": f"198.18.26.{i}", "ssh_connection": f"ssh{i}"}
                for i in range(1, scenario.nodes + 1)
            ],
            "balancers": [
                {"name": f"lb{i}", "connection": f"lb{i}", "backend": "glance_api"}
                for i in range(1, scenario.balancers + 1)
            ],
            "database": {
                "connection": "db",
                "service_connection": "db2",
                "name": "glance",
                "set_log_bin_trust": True,
            },
            "releases": {"archives": "/releases"},
            "backup": {"directory": "/backups"},
            "config": {"templates": "glance"},
            "defaults": {"drain_timeout_seconds": 30, "soak_seconds": 3, "min_in_rotation": least, "contract": "now"},
        }
    )


@cache
def graphs() -> tuple[Graph, Graph]:
    """The steps of the real DAGs, of the upgrade and of the rollback. They are the same for every fleet."""
    sys.path.insert(0, str(PROJECT_ROOT / "dags"))
    try:
        upgrade, rollback = map(import_module, ("glance_rolling_upgrade", "glance_rollback"))
    finally:
        sys.path.pop(0)
    fleet = fleet_of(Scenario())
    return Graph(upgrade.rolling_upgrade(fleet, REAL_CATALOGUE)), Graph(rollback.rollback(fleet, REAL_CATALOGUE))


def play(beneath: Beneath, scenario: Scenario) -> Played:
    """Trigger the upgrade and let the incidents happen, each in its moment."""
    old, new = (REAL_CATALOGUE.release(version) for version in scenario.versions)
    fleet = fleet_of(scenario)
    world = World(fleet.node_names, [b.name for b in fleet.balancers], old, new, scenario.seed)
    # Of an upgrade before; or of this one, on a database that was restored and that nobody has told so.
    world.database.contract_mark = (None, old.version, new.version)[scenario.seed % 3]
    simulation = beneath.simulation = Simulation(world, fleet, *graphs())
    played = Played(scenario, simulation, Invariants(simulation))
    simulation.trigger(**form(simulation, scenario.seed))
    lifts: list[tuple[int, Lift]] = []
    steps = 0

    def go_on(count: int) -> None:
        nonlocal steps
        for _ in range(count):
            steps += 1
            simulation.go_on()
            for due, lift in [pair for pair in lifts if pair[0] <= steps]:
                lift()
                lifts.remove((due, lift))

    for _ in range(MOST_STEPS):
        if not scenario.begins or simulation.runs[0].by_task[scenario.begins][0].state:
            break
        go_on(1)
    for incident in scenario.incidents:
        go_on(incident.after)
        lift_it = strike(simulation, incident)
        if lift_it is not None:
            lifts.append((steps + incident.lasts if incident.lasts is not None else sys.maxsize, lift_it))
    go_on(scenario.goes_on if lifts else 0)
    world.note("all faults are lifted")
    for _, lift in lifts:
        lift()
    return played


def rest_of(played: Played) -> None:
    """See the upgrade through to its end, and the fleet as it must be then; where it was contracted, for good."""
    run = see_through(played.simulation, goes_back=played.scenario.goes_back)
    _assert_upgraded(played, run)
    if not played.simulation.world.serves_old:
        assert_refused(played.simulation)
        if clear_what_went_back(played.simulation):
            _assert_upgraded(played, see_through(played.simulation))


def _assert_upgraded(played: Played, run: Run) -> None:
    played.raise_if_broken()
    world = played.simulation.world
    assert run.state == "success"
    assert is_whole(world, world.new.version)
    assert world.database.contracted
    if world.database.trusts or world.database.trusted_before:
        raise BrokenError("the server has not got its own setting back")
