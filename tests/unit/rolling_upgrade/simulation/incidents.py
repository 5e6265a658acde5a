"""What goes wrong, and what people do meanwhile: each is one act on the simulation, at a moment drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rolling_upgrade.decisions.schema_checks import OpenTransaction
from rolling_upgrade.sensors.drained import CUT, PUT_BACK, WAIT_ON
from tests.unit.rolling_upgrade.simulation.simulation import Simulation
from tests.unit.rolling_upgrade.simulation.workflow import FINISHED, Run, TaskInstance

Lift = Callable[[], None]


@dataclass(frozen=True)
class Incident:
    """``kind`` strikes ``after`` steps; ``which`` chooses its target; a fault is lifted after ``lasts`` steps."""

    after: int
    kind: str
    which: int
    lasts: int | None
    """None: until all faults are lifted."""


def strike(simulation: Simulation, incident: Incident) -> Lift | None:
    """Let it happen; returns how it is lifted, where it can be."""
    simulation.world.note(f"INCIDENT {incident.kind} ({incident.which})")
    return KINDS[incident.kind](simulation, incident.which)


def _pick(choices: Sequence[Any], which: int) -> Any:
    return choices[which % len(choices)]


def _node(simulation: Simulation, which: int) -> str:
    """Every other time a node that is out, or that runs a phase of the database, since that is where it hurts."""
    world = simulation.world
    hurts = [
        name
        for name, machine in world.machines.items()
        if any(server.taken for server in world.servers_of(name)) or any(u.running for u in machine.phases.values())
    ]
    return str(_pick(hurts if hurts and which % 2 else list(world.machines), which // 2))


def _goes_back(simulation: Simulation) -> bool:
    """Whether it is a rollback that has the fleet now."""
    return bool(simulation.holder and simulation.holder.goes_back)


def _balancer(simulation: Simulation, which: int) -> str:
    return str(_pick(list(simulation.world.balancers), which))


# --- faults --------------------------------------------------------------------------------------------------------


def balancer_restart(simulation: Simulation, which: int) -> None:
    simulation.world.restart_balancer(_balancer(simulation, which // 2), cut=bool(which % 2))


def balancer_unreachable(simulation: Simulation, which: int) -> Lift:
    balancer = simulation.world.balancers[_balancer(simulation, which)]
    balancer.reachable = False
    return lambda: setattr(balancer, "reachable", True)


def node_unreachable(simulation: Simulation, which: int) -> Lift:
    machine = simulation.world.machines[_node(simulation, which)]
    machine.ssh = False
    return lambda: setattr(machine, "ssh", True)


def power_off(simulation: Simulation, which: int) -> Lift:
    name = _node(simulation, which)
    simulation.world.power_off(name)
    return lambda: simulation.world.power_on(name)


def power_off_no_boot(simulation: Simulation, which: int) -> Lift:
    simulation.world.machines[_node(simulation, which)].starts_at_boot = False
    return power_off(simulation, which)


def crash_loop(simulation: Simulation, which: int) -> Lift:
    """The release that the run brings does not come up on a node."""
    world = simulation.world
    machine = world.machines[_node(simulation, which)]
    release = (world.old if _goes_back(simulation) else world.new).version
    machine.crashes.add(release)
    return lambda: machine.crashes.discard(release)


def path_cut(simulation: Simulation, which: int) -> Lift:
    """One balancer does not reach a node any more; the others do."""
    server = simulation.world.balancers[_balancer(simulation, which)].servers[_node(simulation, which // 2)]
    server.cut_off = True
    return lambda: setattr(server, "cut_off", False)


def orphan(simulation: Simulation, which: int) -> Lift:
    """A worker of the release that the run takes away outlives its master and listens on."""
    world = simulation.world
    name = _node(simulation, which)
    if world.machines[name].powered:
        world.leave_orphan(name, (world.new if _goes_back(simulation) else world.old).version)
    return lambda: world.leave_orphan(name, "")


def stop_hangs(simulation: Simulation, which: int) -> Lift:
    machine = simulation.world.machines[_node(simulation, which)]
    machine.stop_hangs = True
    return lambda: setattr(machine, "stop_hangs", False)


def error_responses(simulation: Simulation, which: int) -> Lift:
    machine = simulation.world.machines[_node(simulation, which)]
    machine.errs = True
    return lambda: setattr(machine, "errs", False)


def slow_transfer(simulation: Simulation, which: int) -> Lift:
    world = simulation.world
    name = _node(simulation, which)
    machine = world.machines[name]
    machine.slow = True
    for balancer in world.balancers:
        world.request(balancer, name)
    return lambda: setattr(machine, "slow", False)


def database_unreachable(simulation: Simulation, which: int) -> Lift:
    database = simulation.world.database
    database.reachable = False
    return lambda: setattr(database, "reachable", True)


def long_transaction(simulation: Simulation, which: int) -> Lift:
    database = simulation.world.database
    simulation.world.disturb("transactions")
    database.transactions = (OpenTransaction("report", "198.18.26.77", "glance", 3600, ""),)
    return lambda: setattr(database, "transactions", ())


def worker_killed(simulation: Simulation, which: int) -> None:
    workers = [
        actor for actor in simulation.actors if not actor.dead and not actor.gone and not _waits(simulation, actor)
    ]
    if workers:
        simulation.kill(_pick(workers, which))


def triggerer_restart(simulation: Simulation, which: int) -> None:
    simulation.restart_triggerer()


def _waits(simulation: Simulation, actor: Any) -> bool:
    return bool(simulation.run(actor.run_id).graph.steps[actor.task_id].waits)


# --- people --------------------------------------------------------------------------------------------------------


def clear(simulation: Simulation, run: Run, instance: TaskInstance, *, downstream: bool = True) -> None:
    simulation.world.note(f"person: clears {run.run_id} {instance}{'' if downstream else ' alone'}")
    simulation.world.step += 1
    run.clear(instance, simulation.world.step, downstream=downstream)


def _instances(simulation: Simulation, *states: str) -> list[tuple[Run, TaskInstance]]:
    return [(run, i) for run in simulation.runs for i in run.instances.values() if i.state in states]


def clear_failed(simulation: Simulation, which: int) -> None:
    if found := _instances(simulation, "failed"):
        clear(simulation, *_pick(found, which))


def clear_any(simulation: Simulation, which: int) -> None:
    """A task that has passed, or is at work."""
    if found := _instances(simulation, "success", "running", "deferred"):
        clear(simulation, *_pick(found, which // 2), downstream=bool(which % 2))


def mark_failed(simulation: Simulation, which: int) -> None:
    if found := _instances(simulation, "running", "deferred"):
        run, instance = _pick(found, which)
        simulation.world.note(f"person: marks {run.run_id} {instance} failed")
        simulation.mark_failed(run, instance)


def mark_success(simulation: Simulation, which: int) -> None:
    """Somebody passes over a failed task by hand; what follows begins without it."""
    sources = {step.mapped_over for run in simulation.runs for step in run.graph.steps.values()}
    if found := [pair for pair in _instances(simulation, "failed") if pair[1].step.task_id not in sources]:
        run, instance = _pick(found, which)
        simulation.world.note(f"person: marks {run.run_id} {instance} success")
        run.passed_over_by_hand = True
        simulation.finish(run, instance, "success")
        for follower in run.graph.after(instance.step.task_id):
            for one in run.by_task[follower]:
                if one.state == "upstream_failed":
                    one.state = None
        run.resume()


def answer(simulation: Simulation, which: int) -> None:
    """To a drain that asks."""
    if found := [pair for pair in _instances(simulation, "deferred") if pair[1].asks]:
        run, instance = _pick(found, which // 3)
        choice = _pick((WAIT_ON, CUT, PUT_BACK), which)
        simulation.world.note(f"person: answers {choice!r} to {instance}")
        simulation.answer(run, instance, choice)


def form(simulation: Simulation, which: int) -> dict[str, Any]:
    """A request for an upgrade of the whole fleet."""
    return {"target_release": simulation.world.new.version, **form_of_rollback(simulation, which)}


def form_of_rollback(simulation: Simulation, which: int) -> dict[str, Any]:
    """A request over the whole fleet, in an order of its own; the release before is found by the run."""
    names = list(simulation.world.machines)
    turn = which % len(names)
    order = names[turn:] + names[:turn]
    return {
        "nodes": order[::-1] if which % 2 else order,
        "on_drain_timeout": _pick(("hold", "ask", "cut", "hold"), which // 2),
    }


def give_up(simulation: Simulation) -> None:
    """Mark the runs that are open as failed."""
    for run in simulation.runs:
        if run.state not in FINISHED:
            simulation.world.note(f"person: marks {run.run_id} failed")
            simulation.mark_run_failed(run)


def new_run(simulation: Simulation, which: int) -> None:
    """The run is marked failed, and a new one is triggered with another order of nodes."""
    give_up(simulation)
    simulation.trigger(**form(simulation, which))


def roll_back(simulation: Simulation, which: int) -> None:
    """Whatever is open is given up, and the fleet goes back to the release before."""
    give_up(simulation)
    simulation.trigger(goes_back=True, **form_of_rollback(simulation, which))


def second_run(simulation: Simulation, which: int) -> None:
    if len(simulation.runs) < 4:
        simulation.trigger(**form(simulation, which))


KINDS: dict[str, Callable[[Simulation, int], Lift | None]] = {
    act.__name__: act
    for act in (
        worker_killed,
        balancer_restart,
        balancer_unreachable,
        node_unreachable,
        power_off,
        power_off_no_boot,
        crash_loop,
        orphan,
        path_cut,
        stop_hangs,
        error_responses,
        answer,
        slow_transfer,
        database_unreachable,
        long_transaction,
        triggerer_restart,
        clear_failed,
        clear_any,
        mark_failed,
        mark_success,
        new_run,
        roll_back,
        second_run,
    )
}
