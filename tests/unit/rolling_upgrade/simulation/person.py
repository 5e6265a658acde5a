"""The person who ends an incident: lifts every fault, then does what the messages of the failed tasks say."""

from __future__ import annotations

import re

from rolling_upgrade.hooks.balancer import Admin
from tests.unit.rolling_upgrade.simulation.incidents import clear
from tests.unit.rolling_upgrade.simulation.simulation import Simulation, node_of
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
    """Bring the newest run to its end, by its messages alone; returns it.

    Where somebody has passed over a failed step by hand, no message can say so: then a new run looks at all of it.
    """
    until_quiet(simulation)
    for attempt in range(ROUNDS):
        run = _run_to_see_through(simulation)
        _mend_what_serves_no_more(simulation, run)
        if run.state == "success":
            return run
        failed = [i for i in run.instances.values() if i.state == "failed"]
        if not failed or (attempt > ROUNDS // 2 and run.passed_over_by_hand):
            _new_run(simulation)
        for instance in failed:
            if instance.state == "failed":
                _follow_the_message(simulation, run, instance)
        until_quiet(simulation)
    run = _run_to_see_through(simulation)
    raise AssertionError(
        f"{run.run_id} is {run.state} after {ROUNDS} rounds: "
        + "; ".join(f"{i}: {i.failure}" for i in run.instances.values() if i.state == "failed")
    )


def _run_to_see_through(simulation: Simulation) -> Run:
    """The run that has the fleet, and the newest one where none has."""
    holder = simulation.holder
    return holder if holder is not None and holder.state == "running" else simulation.runs[-1]


def _new_run(simulation: Simulation, first: str | None = None) -> None:
    for run in simulation.runs:
        if run.state not in FINISHED:
            simulation.mark_run_failed(run)
    names = sorted(simulation.world.machines, key=lambda name: name != first)
    simulation.trigger(target_release=simulation.world.new.version, nodes=names)


def _mend_what_serves_no_more(simulation: Simulation, run: Run) -> None:
    """Start what a power cut stopped, on nodes that are in rotation: no task of the run looks after these.

    And wait: for checks, and for a phase of the database, as a message may say.
    """
    world = simulation.world
    for name, machine in world.machines.items():
        is_ours = any(server.taken for server in world.servers_of(name))
        may_start = machine.current == world.old.version or (world.database.expanded and world.database.migrated)
        if machine.runs is None and may_start and not is_ours:
            world.note(f"person: starts {name}")
            world.start_unit(name)
    world.pass_time(100.0 if world.running_phases() else 2.0)


def _follow_the_message(simulation: Simulation, run: Run, instance: TaskInstance) -> None:
    """Clear the task that the message names for this node, or the failed one itself."""
    if instance.step.task_id.endswith(".take_out") and _bring_back(simulation, instance):
        return
    found = _NEXT.search(instance.failure)
    advice = found.group(1) if found else ""
    if "the step that is missing" in advice:
        staged = "is not staged" not in instance.failure
        advice = "clear stop" if staged else "clear stage_release"
    named = re.search(r"clear (?:this node(?:'s steps)? from )?(\w+)", advice)
    clear(simulation, run, _named(run, instance, named.group(1)) if named else instance)


def _bring_back(simulation: Simulation, instance: TaskInstance) -> bool:
    """Bring the servers that are named back UP by hand. True where that cannot be, and a new run begins with one.

    A node that an earlier run has switched must not be started before migrate, so only a run can bring it back.
    """
    world = simulation.world
    for name, machine in world.machines.items():
        if not re.search(rf"[(,;:] ?{name} (is already|DOWN|MAINT|DRAIN)", instance.failure):
            continue
        if machine.runs is None:
            _new_run(simulation, first=name)
            return True
        world.note(f"person: sets {name} ready")
        for balancer in world.balancers:
            world.set_state(balancer, name, Admin.READY)
    return False


def _named(run: Run, instance: TaskInstance, word: str) -> TaskInstance:
    """The task of that short name: for the same node where there is one for each, else of the run."""
    node = node_of(run, instance)
    named = [one for one in run.instances.values() if one.step.task_id.rpartition(".")[2] == word]
    return next(iter([one for one in named if node_of(run, one) == node] or named), instance)
