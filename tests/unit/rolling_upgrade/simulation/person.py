"""The person who ends an incident: lifts every fault, then does what the messages of the failed tasks say."""

from __future__ import annotations

import re

from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.hooks.balancer import Admin
from tests.unit.rolling_upgrade.simulation.incidents import clear, give_up
from tests.unit.rolling_upgrade.simulation.simulation import Simulation, node_of
from tests.unit.rolling_upgrade.simulation.workflow import Run, TaskInstance
from tests.unit.rolling_upgrade.simulation.world import World

ROUNDS = 15
"""How often a person looks at the run before it counts as one that cannot be brought to its end."""
_NEXT = re.compile(r"^Next: (.*)$", re.MULTILINE)


def until_quiet(simulation: Simulation, *, limit: int = 300_000) -> None:
    """Go on until the run is over or all that is left waits for a person."""
    for _ in range(limit):
        if not simulation.go_on(quick=True):
            return
    raise AssertionError("the simulation does not come to rest")


def see_through(simulation: Simulation, *, goes_back: bool = False) -> Run:
    """Bring the newest run to its end, and after a rollback an upgrade as well; returns that.

    ``goes_back``: give up what is open first, and roll back.
    """
    until_quiet(simulation)
    if goes_back:
        give_up(simulation)
        until_quiet(simulation)
        _mend_what_serves_no_more(simulation)
        if _is_marked(simulation.world) and not simulation.world.database.contracted:
            assert_refused(simulation)
        else:
            _new_run(simulation, goes_back=True)
        until_quiet(simulation)
    run = _bring_to_its_end(simulation)
    if run.goes_back:
        _assert_back(simulation, run)
        _new_run(simulation)
        until_quiet(simulation)
        run = _bring_to_its_end(simulation)
    return run


def assert_refused(simulation: Simulation) -> None:
    """Try to roll back, while nothing else is at work: the plan refuses it, and nothing changes."""
    before, claimed = _as_it_stands(simulation.world), simulation.world.database.holder
    run = _new_run(simulation, goes_back=True)
    until_quiet(simulation)
    assert _is_rightly_refused(simulation, run), f"{run.run_id} is {run.state}: {run.instances['plan', -1].failure}"
    assert _as_it_stands(simulation.world) == before
    assert simulation.world.database.holder == claimed


def clear_what_went_back(simulation: Simulation, step: str = "") -> TaskInstance | None:
    """Clear a step of the first node of a rollback that came that far before contract; returns it, if there is one.

    ``stop`` is cleared after a power cut: to that step the node is stopped already, and only the start asks.
    """
    world = simulation.world
    step = step or world.random.choice(("take_out", "drained", "stop"))
    for run in simulation.runs:
        instance = run.instances.get((f"nodes.{step}", 0))
        if run.goes_back and run.target == world.old.version and instance and instance.state in ("success", "failed"):
            if step == "stop":
                cut_power(world, node_of(run, instance))
            clear(simulation, run, instance)
            until_quiet(simulation)
            return instance
    return None


def cut_power(world: World, node: str) -> None:
    """The node comes back at once, and its service does not."""
    world.machines[node].starts_at_boot = False
    world.power_off(node)
    world.power_on(node)


def is_whole(world: World, release: str) -> bool:
    """Whether every node runs that release, and every balancer sends it requests."""
    runs = {machine.runs for machine in world.machines.values()}
    return runs == {release} and {v.rotation for b in world.balancers for v in world.views(b)} == {Rotation.IN}


def _bring_to_its_end(simulation: Simulation) -> Run:
    """Bring the newest run to its end, by its messages alone; returns it, or the upgrade after a refused rollback.

    Where somebody has passed over a failed step by hand, no message can say so: then a new run looks at all of it. So
    it does where an older run was cleared after the end of the newest.
    """
    for attempt in range(ROUNDS):
        run = _run_to_see_through(simulation)
        _mend_what_serves_no_more(simulation)
        if run.state == "success" and not _is_overtaken(simulation, run):
            return run
        failed = [i for i in run.instances.values() if i.state == "failed"]
        if run.goes_back and _is_rightly_refused(simulation, run):
            _new_run(simulation)
        elif not failed or (attempt > ROUNDS // 2 and run.passed_over_by_hand):
            _new_run(simulation, goes_back=run.goes_back)
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


def _is_overtaken(simulation: Simulation, run: Run) -> bool:
    return any(other.acted_at > run.acted_at for other in simulation.runs)


def _new_run(simulation: Simulation, first: str | None = None, *, goes_back: bool = False) -> Run:
    give_up(simulation)
    nodes = sorted(simulation.world.machines, key=lambda name: name != first)
    if goes_back:
        return simulation.trigger(goes_back=True, nodes=nodes)
    return simulation.trigger(target_release=simulation.world.new.version, nodes=nodes)


def _assert_back(simulation: Simulation, run: Run) -> None:
    """A rollback that ends well has brought every node back; after contract it can only mend what is out."""
    world = simulation.world
    assert run.target == (world.old if world.serves_old else world.new).version
    assert run.passed_over_by_hand or is_whole(world, run.target)


def _is_rightly_refused(simulation: Simulation, run: Run) -> bool:
    """Whether the rollback was refused by its plan, and there is no way back, or nothing to go back from."""
    world, plan = simulation.world, run.instances["plan", -1]
    refused = plan.state == "failed" and " can use it." in plan.failure
    return refused and (_is_marked(world) or not world.serves_old or is_whole(world, world.old.version))


def _is_marked(world: World) -> bool:
    """Whether it is on record that contract has begun and may have taken away what the old release needs."""
    return world.database.contract_mark == world.new.version and world.old.contracted != world.new.contracted


def _as_it_stands(world: World) -> object:
    """All that only tasks and people change."""
    database = world.database
    return (
        {n: (m.current, m.runs, m.unit, m.held, sorted(m.staged), sorted(m.phases)) for n, m in world.machines.items()},
        [server.admin for name in world.machines for server in world.servers_of(name)],
        (database.heads, database.contract_mark, database.half_contracted, dict(database.backups)),
        (database.trusts, dict(database.trusted_before)),
    )


def _mend_what_serves_no_more(simulation: Simulation) -> None:
    """Start what a power cut stopped, on nodes that are in rotation: no task of the run looks after these.

    And wait: for checks, and for a phase of the database, as a message may say.
    """
    world = simulation.world
    for name, machine in world.machines.items():
        is_ours = any(server.taken for server in world.servers_of(name))
        migrated = world.database.expanded and world.database.migrated
        may_start = world.serves_old if machine.current == world.old.version else migrated
        if machine.runs is None and may_start and not is_ours:
            world.note(f"person: starts {name}")
            world.start_unit(name)
    world.pass_time(100.0 if world.running_phases() else 2.0)


def _follow_the_message(simulation: Simulation, run: Run, instance: TaskInstance) -> None:
    """Clear the task that the message names for this node, or the failed one itself."""
    if instance.step.task_id.endswith(".take_out") and _bring_back(simulation, instance, goes_back=run.goes_back):
        return
    found = _NEXT.search(instance.failure)
    advice = found.group(1) if found else ""
    if "with a run of the upgrade" in advice:
        assert not simulation.world.serves_old
        _new_run(simulation)
        return
    if "the step that is missing" in advice:
        staged = "is not staged" not in instance.failure
        advice = "clear stop" if staged else "clear stage_release"
    named = re.search(r"clear (?:this node(?:'s steps)? from )?(\w+)", advice)
    clear(simulation, run, _named(run, instance, named.group(1)) if named else instance)


def _bring_back(simulation: Simulation, instance: TaskInstance, *, goes_back: bool) -> bool:
    """Bring the servers that are named back UP by hand. True where that cannot be, and a new run begins with one.

    A node that an earlier run has switched must not be started before migrate, so only a run can bring it back.
    """
    world = simulation.world
    for name, machine in world.machines.items():
        if not re.search(rf"[(,;:] ?{name} (is already|DOWN|MAINT|DRAIN)", instance.failure):
            continue
        if machine.runs is None:
            _new_run(simulation, first=name, goes_back=goes_back)
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
