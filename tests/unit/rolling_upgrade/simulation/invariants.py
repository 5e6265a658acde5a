"""What must never happen, looked at after every change of the world.

A task decides on what it last saw. Where a fault struck between that look and the change, no order of checks could
have known it, and the change is excused; what another task did in between is no excuse.
"""

from __future__ import annotations

from rolling_upgrade.decisions.phases import Phase
from tests.unit.rolling_upgrade.simulation.actors import Actor, current
from tests.unit.rolling_upgrade.simulation.simulation import Simulation
from tests.unit.rolling_upgrade.simulation.things import Change
from tests.unit.rolling_upgrade.simulation.workflow import Run, TaskInstance


class BrokenError(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """Observes one simulation; raises BrokenError at the change that breaks a rule."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.phases_begun: dict[Phase, int] = {}
        self.broken: BrokenError | None = None
        self._checks = {
            "drain": self._taken_out,
            "maint": self._taken_out,
            "ready": self._returned,
            "stop": self._stopped,
            "start": self._started,
            "phase": self._phase,
            "forget": self._forgotten,
            "trusts no more": self._distrusted,
        }
        self.world.observers.append(self.observe)
        simulation.on_success.append(self._succeeded)

    def observe(self, change: Change) -> None:
        if change.what == "start" and change.release == self.world.old.version and not self.world.serves_old:
            self._break(f"{change.node} is started on {change.release}, which cannot use the schema any more")
        # A plan puts back what an earlier run has left of its trust, and that alone.
        if change.actor is not None and change.actor.task_id == "plan" and change.what != "trusts no more":
            self._break(f"{change.actor.label} changes the world: {change.what}")
        check = self._checks.get(change.what)
        if check is not None and change.actor is not None:
            check(change, change.actor)

    def _break(self, text: str) -> None:
        self.broken = BrokenError(text)
        raise self.broken

    # --- rotation ----------------------------------------------------------------------------------------------

    def _taken_out(self, change: Change, actor: Actor) -> None:
        out = sorted({n for b in self.world.balancers.values() for n, s in b.servers.items() if s.taken})
        if len(out) > 1:
            self._break(f"{' and '.join(out)} are taken out at once, the last by {actor.label}")
        if change.before == "takes":
            self._may_come_back(change, actor)
            self._enough_left(change, actor)
            if actor.task_id.endswith(".take_out"):
                self._in_its_turn(actor)

    def _may_come_back(self, change: Change, actor: Actor) -> None:
        if self._target(actor) == self.world.old.version and not self.world.serves_old:
            self._break(f"{actor.label} takes out {change.node}, and what it is to run cannot use the schema any more")

    def _enough_left(self, change: Change, actor: Actor) -> None:
        servers = self.world.balancers[change.balancer].servers
        others = len(servers) - 1
        least = self.simulation.fleet.defaults.min_in_rotation
        needed = max(1, others) if least is None else max(1, least)
        up = sum(server.takes for name, server in servers.items() if name != change.node)
        # Asked, decided, asked once more for what is to be told, told: what struck after the decision is excused.
        if up < needed and not self.world.disturbed_since_look(actor, f"lb:{change.balancer}", before=True):
            self._break(f"{actor.label} leaves {up} servers on {change.balancer}, {needed} must stay")

    def _returned(self, change: Change, actor: Actor) -> None:
        machine = self.world.machines[change.node]
        if not actor.task_id.endswith(".return_to_rotation"):
            if machine.stopped_by_task and not machine.answers:
                self._break(f"{actor.label} puts {change.node} back, which was stopped")
            return
        if not machine.runs_only(self._target(actor)) and not self._disturbed(actor, change.node):
            self._break(f"{actor.label} returns {change.node}, which runs {machine.runs} {machine.orphan}")

    # --- turns -------------------------------------------------------------------------------------------------

    def _run(self, actor: Actor) -> Run:
        return self.simulation.run(actor.run_id)

    def _target(self, actor: Actor) -> str:
        """The release that the actor's run may bring: an upgrade the new one, a rollback what its plan has found."""
        run = self._run(actor)
        return str(run.target) if run.goes_back else self.world.new.version

    def _unfinished_before(self, run: Run, map_index: int, since: int) -> list[str]:
        """Earlier nodes whose last step has not succeeded, but for those that a person has cleared since."""
        if map_index < 0:
            return []
        last = [one for one in run.by_task[f"{_group(run)}.soak"] if 0 <= one.map_index < map_index]
        last += run.by_task.get("new_node_in.soak", [])
        return [str(one) for one in last if one.state != "success" and one.cleared_at < since]

    def _in_its_turn(self, actor: Actor) -> None:
        run = self._run(actor)
        turn = run.instances.get((f"{_group(run)}.turn", actor.map_index))
        unfinished = self._unfinished_before(run, actor.map_index, turn.succeeded_at if turn else 0)
        if unfinished:
            self._break(f"{actor.label} begins while {', '.join(unfinished)} has not finished")

    def _succeeded(self, run: Run, instance: TaskInstance) -> None:
        actor = current()
        if instance.step.task_id == f"{_group(run)}.turn" and actor is not None:
            unfinished = self._unfinished_before(run, instance.map_index, actor.looked.get("states", 0))
            if unfinished:
                self._break(f"{instance} opens while {', '.join(unfinished)} has not finished")

    # --- nodes -------------------------------------------------------------------------------------------------

    def _stopped(self, change: Change, actor: Actor) -> None:
        machine, target = self.world.machines[change.node], self._target(actor)
        cut = [b for b in filter(None, change.before.split(",")) if not self._blind(actor, b)]
        if cut and not self._chosen_cut(actor):
            self._break(f"{actor.label} stops {change.node} with requests in flight on {', '.join(cut)}")
        if machine.orphan == "" and change.release == target and not self._disturbed(actor, change.node):
            self._break(f"{actor.label} stops {change.node}, which runs {target} already")
        if machine.stops[change.release] > machine.starts[change.release]:
            self._break(f"{actor.label} stops {change.node} on {change.release} again, which was not started since")

    def _chosen_cut(self, actor: Actor) -> bool:
        drained = self._run(actor).result(actor.task_id.replace(".stop", ".drained"), map_index=actor.map_index)
        return bool(drained and drained.get("cut"))

    def _blind(self, actor: Actor, balancer: str) -> bool:
        return self.world.disturbed_since_look(actor, f"lb:{balancer}")

    def _disturbed(self, actor: Actor, node: str) -> bool:
        return self.world.disturbed_since_look(actor, f"node:{node}")

    def _started(self, change: Change, actor: Actor) -> None:
        db = self.world.database
        if change.release == self.world.new.version and not (db.expanded and db.migrated):
            self._break(f"{actor.label} starts {change.node} on {change.release} before migrate is complete")
        if change.release != self._target(actor):
            self._break(f"{actor.label} starts {change.node} on {change.release}")

    # --- database ----------------------------------------------------------------------------------------------

    def _phase(self, change: Change, actor: Actor) -> None:
        assert change.phase is not None
        db = self.world.database
        if self._run(actor).goes_back:
            self._break(f"{actor.label} starts {change.phase.value} in a rollback")
        if len(self.world.running_phases()) > 1:
            self._break(f"{actor.label} starts {change.phase.value} beside another phase")
        if db.backing_up:
            self._break(f"{actor.label} starts {change.phase.value} during a backup")
        if change.phase is Phase.EXPAND and not db.backups:
            self._break(f"{actor.label} expands without a backup")
        if change.phase is not Phase.MIGRATE and not db.trusts:
            self._break(f"{actor.label} starts {change.phase.value}, which could not make its triggers")
        if change.phase is not Phase.MIGRATE and db.transactions:
            self._may_wait(change.phase, actor)
        done = {Phase.EXPAND: db.expanded, Phase.CONTRACT: db.contracted}.get(change.phase, False)
        if done:
            self._break(f"{actor.label} starts {change.phase.value}, which is done")
        expected = {Phase.EXPAND: None, Phase.CONTRACT: self.world.new.version}.get(change.phase, db.contract_mark)
        if db.contract_mark != expected:
            self._break(f"{actor.label} starts {change.phase.value}, and on record is contract to {db.contract_mark}")
        if change.phase is Phase.CONTRACT:
            self._all_proven(actor)

    def _forgotten(self, change: Change, actor: Actor) -> None:
        if not self.world.serves_old:
            self._break(f"{actor.label} takes away the record that contract has begun")

    def _distrusted(self, change: Change, actor: Actor) -> None:
        for unit in self.world.running_phases():
            if unit.phase is not Phase.MIGRATE:
                self._break(f"{actor.label} takes from {unit.phase.value} what it needs to make its triggers")

    def _may_wait(self, phase: Phase, actor: Actor) -> None:
        if not self.world.disturbed_since_look(actor, "transactions"):
            self._break(f"{actor.label} starts {phase.value} behind a long transaction")

    def _all_proven(self, actor: Actor) -> None:
        new = self.world.new.version
        for name, machine in self.world.machines.items():
            if not machine.runs_only(new) and not self._disturbed(actor, name):
                self._break(f"{actor.label} contracts while {name} runs {machine.runs} {machine.orphan}")


def _group(run: Run) -> str:
    """The mapped group of the nodes that have turns."""
    return "nodes" if run.goes_back else "remaining_nodes"
