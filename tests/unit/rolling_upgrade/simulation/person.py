"""The person who ends an incident: lifts every fault, then does what the messages of the failed tasks say."""

from __future__ import annotations

import re

from rolling_upgrade.hooks.balancer import Admin
from tests.unit.rolling_upgrade.simulation.incidents import clear
from tests.unit.rolling_upgrade.simulation.simulation import Simulation
from tests.unit.rolling_upgrade.simulation.workflow import FINISHED, Run, TaskInstance

ROUNDS = 15
"""How often a person looks at the run before it counts as one that cannot be brought to its end."""
_NEXT = re.compile(r"^Next: (.*)$", re.MULTILINE)


def until_quiet(simulation: Simulation, *, limit: int = 300_000) -> None:
    """Go on until the run is over or all that is left waits for a person."""
    for _ in range(limit):
        if not simulation.go_on(quick=True):
            return
    raise AssertionError("the simulation does not come to rest")


def see_through(simulation: Simulation) -> Run:
    """Bring the newest run to its end, by its messages alone; returns it."""
    until_quiet(simulation)
    for _ in range(ROUNDS):
        run = simulation.runs[-1]
        if run.state == "success":
            return run
        _mend_what_serves_no_more(simulation, run)
        failed = [i for i in run.instances.values() if i.state == "failed"]
        if not failed or run.state == "failed" and not run.nodes:
            _new_run(simulation)
        for instance in failed:
            if instance.state == "failed":
                _follow_the_message(simulation, run, instance)
        until_quiet(simulation)
    run = simulation.runs[-1]
    raise AssertionError(
        f"{run.run_id} is {run.state} after {ROUNDS} rounds: "
        + "; ".join(f"{i}: {i.failure}" for i in run.instances.values() if i.state == "failed")
    )


def _new_run(simulation: Simulation, first: str | None = None) -> None:
    for run in simulation.runs:
        if run.state not in FINISHED:
            run.mark_failed()
    names = list(simulation.world.machines)
    simulation.trigger(target_release=simulation.world.new.version, nodes=names, new_node=first or names[0])


def _mend_what_serves_no_more(simulation: Simulation, run: Run) -> None:
    """Start what a power cut stopped, on nodes that are in rotation: no task of the run looks after these."""
    world = simulation.world
    for name, machine in world.machines.items():
        if machine.runs is None and not any(server.taken for server in world.servers_of(name)):
            if machine.current == world.old.version or (world.database.expanded and world.database.migrated):
                world.note(f"person: starts {name}")
                world.start_unit(name)
    world.pass_time(2.0)


def _follow_the_message(simulation: Simulation, run: Run, instance: TaskInstance) -> None:
    """Clear the task that the message names for this node, or the failed one itself."""
    if "already out" in instance.failure and _bring_back(simulation, instance):
        return
    found = _NEXT.search(instance.failure)
    advice = found.group(1) if found else ""
    named = re.search(r"clear (?:this node(?:'s steps)? from )?(\w+)", advice)
    clear(simulation, run, _named(run, instance, named.group(1)) if named else instance)


def _bring_back(simulation: Simulation, instance: TaskInstance) -> bool:
    """Another node is out. One that serves is set ready by hand; else a new run begins with it. True for a new run."""
    world = simulation.world
    out = [n for n in world.machines if f"{n} is already out" in instance.failure]
    for name in out:
        if world.machines[name].runs is None:
            _new_run(simulation, first=name)
            return True
        world.note(f"person: sets {name} ready")
        for balancer in world.balancers:
            world.set_state(balancer, name, Admin.READY)
    return False


def _named(run: Run, instance: TaskInstance, word: str) -> TaskInstance:
    """The task of that short name: of this node where it is a step on a node, else of the run."""
    for one in run.instances.values():
        same_node = one.map_index == instance.map_index
        if one.step.task_id.rpartition(".")[2] == word and (same_node or one.map_index < 0):
            if "." not in one.step.task_id or bool(one.step.group) == bool(instance.step.group):
                return one
    return instance
