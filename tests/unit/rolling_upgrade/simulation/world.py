"""What happens to a fleet: machines, balancers, a database, and the traffic through them.

Nothing here decides anything. What a person, a fault or a task does to the world is one method each, and after every
change the observers are told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from rolling_upgrade.decisions.phases import Phase, SchemaState
from rolling_upgrade.decisions.proof import NodeView, Process
from rolling_upgrade.decisions.rotation import Errors, ServerView
from rolling_upgrade.fleet.catalogue import Release
from rolling_upgrade.hooks.balancer import Admin
from tests.unit.rolling_upgrade.simulation.actors import Actor, current
from tests.unit.rolling_upgrade.simulation.things import Balancer, Change, Database, Machine, PhaseUnit, Server

PHASE_SECONDS = (1.0, 3.0, 60.0)


Observer = Callable[[Change], None]


class World:
    """Everything that tasks can ask or change, and the time."""

    def __init__(self, nodes: Iterable[str], balancers: Iterable[str], old: Release, new: Release, seed: int) -> None:
        names = list(nodes)
        self.random = random.Random(seed)
        self.old, self.new = old, new
        self.machines = {n: Machine(n, old.version, {old.version}, old.version) for n in names}
        for machine in self.machines.values():
            machine.starts[old.version] = 1
        self.balancers = {b: Balancer(b, {n: Server() for n in names}) for b in balancers}
        same = old.contracted == new.contracted
        self.database = Database(frozenset({old.contracted}), expanded=same, migrated=same, contracted=same)
        self.clock = 0.0
        self.step = 0
        self.disturbed: dict[str, int] = {}
        self.trace: list[str] = []
        self.observers: list[Observer] = []

    # --- who did what ------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self.trace.append(f"{self.step:>6} {self.clock:8.1f}s {text}")

    def look(self, thing: str) -> None:
        actor = current()
        if actor is not None:
            self.step += 1
            actor.looked_before[thing] = actor.looked.get(thing, self.step)
            actor.looked[thing] = self.step

    def disturb(self, *things: str) -> None:
        """Something other than a task has changed these."""
        self.step += 1
        for thing in things:
            self.disturbed[thing] = self.step

    def disturbed_since_look(self, actor: Actor, thing: str, *, before: bool = False) -> bool:
        """Whether something has struck since the actor asked that thing; ``before``: since it asked the time before."""
        looked = actor.looked_before if before else actor.looked
        return thing in looked and self.disturbed.get(thing, -1) > looked[thing]

    def changed(self, change: Change) -> None:
        self.step += 1
        who = change.actor.label if change.actor else "world"
        things = " ".join(filter(None, [change.node, change.balancer, change.release, change.before]))
        self.note(f"{who}: {change.what} {things}")
        for observe in self.observers:
            observe(change)

    # --- balancers ---------------------------------------------------------------------------------------------

    def views(self, balancer: str) -> list[ServerView]:
        return [
            ServerView(
                balancer,
                name,
                server.status,
                server.sessions,
                0,
                server.check,
                address=f"198.18.26.{name.removeprefix('node')}:9292",
                draining=server.admin is Admin.DRAIN,
                errors=Errors(http_5xx=server.errors),
            )
            for name, server in self.balancers[balancer].servers.items()
        ]

    def set_state(self, balancer: str, node: str, admin: Admin) -> None:
        server = self.balancers[balancer].servers[node]
        before, actor = ("takes" if server.takes else "out"), current()
        if server.admin is admin:
            return
        server.admin = admin
        if admin is Admin.MAINT:
            server.pooled = 0
        server.taken = admin is not Admin.READY and (server.taken or actor is not None)
        if actor is None:
            self.disturb(f"lb:{balancer}")
        self.changed(Change(admin.value, actor, node=node, balancer=balancer, before=before))

    def forget_health(self, balancer: str, node: str) -> None:
        server = self.balancers[balancer].servers[node]
        if server.admin is not Admin.MAINT:
            server.up = False

    def restart_balancer(self, name: str, *, cut: bool) -> None:
        """A new process: no drain, no counter. Without ``cut`` the old one serves its requests to their end."""
        for server in self.balancers[name].servers.values():
            server.left = 0 if cut else server.left + server.sessions
            server.admin, server.up, server.check, server.taken = Admin.READY, True, "", False
            server.sessions = server.pooled = server.errors = 0
        self.disturb(f"lb:{name}")
        self.changed(Change("balancer restarts", None, balancer=name))

    # --- nodes -------------------------------------------------------------------------------------------------

    def view_of(self, node: str) -> NodeView:
        machine = self.machines[node]
        processes = [] if machine.runs is None else [Process(1, "api", (machine.runs,), listens=True, in_unit=True)]
        if machine.orphan:
            processes.append(Process(2, "api", (machine.orphan,), listens=True, in_unit=False))
        return NodeView(
            active_state=machine.unit,
            sub_state="auto-restart" if machine.unit == "activating" else "running",
            restarts=machine.restarts,
            current=machine.current,
            complete_releases=tuple(sorted(machine.staged)),
            established=self.connections(node),
            processes=tuple(processes),
        )

    def connections(self, node: str) -> int:
        return sum(s.sessions + s.pooled + s.left for s in self.servers_of(node))

    def in_flight(self, node: str, balancer: str) -> int:
        server = self.balancers[balancer].servers[node]
        return server.sessions + server.left

    def servers_of(self, node: str) -> list[Server]:
        return [balancer.servers[node] for balancer in self.balancers.values()]

    def stop_unit(self, node: str) -> None:
        """What is in flight is cut; the processes end a little later, or never while the stop hangs."""
        machine, before = self.machines[node], self.machines[node].runs or ""
        flight = {b: self.in_flight(node, b) for b in self.balancers}
        cut = ",".join(f"{b}" for b, open_requests in flight.items() if open_requests)
        if before and current() is not None:
            machine.stops[before] += 1
        machine.stopped_by_task = current() is not None
        if before:
            machine.unit = "deactivating"
        else:
            machine.unit = "inactive"
        self.changed(Change("stop", current(), node=node, release=before, before=cut))

    def start_unit(self, node: str) -> None:
        """As systemd does it, for a task, a person or at boot."""
        machine = self.machines[node]
        if machine.runs is not None or machine.unit == "activating" or (machine.held and current() is not None):
            return
        machine.held, machine.restarts, machine.stopped_by_task = False, 0, False
        self._launch(machine)
        machine.starts[machine.current] += 1
        if current() is None:
            self.disturb(f"node:{node}")
        self.changed(Change("start", current(), node=node, release=machine.current))

    def forget_restarts(self, node: str) -> None:
        """As systemd counts them; it is no change that anybody notices."""
        self.machines[node].restarts = 0

    def leave_orphan(self, node: str, release: str) -> None:
        machine = self.machines[node]
        machine.orphan = release
        if not release and machine.runs is None:
            self._end_processes(machine, machine.unit)
        self.disturb(f"node:{node}")
        self.changed(Change("orphan" if release else "orphan ended", None, node=node, release=release))

    def switch(self, node: str, release: str) -> None:
        self.machines[node].current = release
        self.changed(Change("switch", current(), node=node, release=release))

    def stage(self, node: str, release: str) -> None:
        self.machines[node].staged.add(release)
        self.changed(Change("stage", current(), node=node, release=release))

    def power_off(self, node: str) -> None:
        machine = self.machines[node]
        machine.powered, machine.orphan = False, ""
        self._end_processes(machine, "inactive")
        for unit in machine.phases.values():
            if unit.running:
                self.note(f"{unit.phase.value} dies with {node}")
        machine.phases.clear()
        self.disturb(f"node:{node}")
        self.changed(Change("power off", None, node=node))

    def power_on(self, node: str) -> None:
        machine = self.machines[node]
        if machine.powered:
            return
        machine.powered = True
        self.disturb(f"node:{node}")
        self.changed(Change("power on", None, node=node))
        if machine.starts_at_boot and not machine.held:
            self.start_unit(node)

    def _launch(self, machine: Machine) -> None:
        if machine.current in machine.crashes:
            machine.unit, machine.runs = "activating", None
        else:
            machine.unit, machine.runs = "active", machine.current

    def _end_processes(self, machine: Machine, unit: str) -> None:
        machine.runs, machine.unit = None, unit
        for server in self.servers_of(machine.name):
            server.sessions = server.left = server.pooled = 0

    # --- database ----------------------------------------------------------------------------------------------

    def schema_state(self) -> SchemaState:
        db = self.database
        if not db.expanded:
            return SchemaState.EXPAND_NEEDED
        if not db.migrated:
            return SchemaState.MIGRATE_NEEDED
        return SchemaState.CURRENT if db.contracted else SchemaState.CONTRACT_NEEDED

    @property
    def serves_old(self) -> bool:
        """Whether the old release can use the schema as it really is."""
        return self.old.contracted == self.new.contracted or not (
            self.database.contracted or self.database.half_contracted
        )

    def mark_contract(self, release: str | None) -> None:
        """The row that says that contract has begun; None takes it away."""
        if self.database.contract_mark != release:
            self.database.contract_mark = release
            self.changed(Change("mark" if release else "forget", current(), release=release or ""))

    def set_trust(self, value: bool) -> None:
        if self.database.trusts != value:
            self.database.trusts = value
            self.changed(Change("trusts" if value else "trusts no more", current()))

    def running_phases(self) -> list[PhaseUnit]:
        return [unit for machine in self.machines.values() for unit in machine.phases.values() if unit.running]

    def start_phase(self, node: str, name: str, phase: Phase, release: str) -> None:
        db = self.database
        if phase is Phase.CONTRACT and db.migrated and not db.contracted:
            db.half_contracted = True
        self.machines[node].phases[name] = PhaseUnit(phase, release, self.random.choice(PHASE_SECONDS))
        self.changed(Change("phase", current(), node=node, phase=phase, release=release))

    def _end_phase(self, node: str, unit: PhaseUnit) -> None:
        db = self.database
        ready = {
            Phase.EXPAND: True,
            Phase.MIGRATE: db.expanded,
            Phase.CONTRACT: db.migrated,
        }[unit.phase]
        unit.running, unit.status = False, 0 if db.reachable and ready else 1
        if unit.status == 0:
            if unit.phase is Phase.EXPAND:
                db.expanded, db.heads = True, db.heads | {self.new.expanded}
            elif unit.phase is Phase.MIGRATE:
                db.migrated = True
            else:
                db.contracted, db.half_contracted = True, False
                db.heads = frozenset({self.new.contracted})
        self.changed(Change(f"{unit.phase.value} ends with {unit.status}", None, node=node))

    # --- what goes on by itself --------------------------------------------------------------------------------

    def request(self, balancer: str, node: str) -> None:
        """A client's request, if that balancer sends one there."""
        server = self.balancers[balancer].servers[node]
        if server.takes and self.machines[node].answers and not server.cut_off and server.sessions < 2:
            server.sessions += 1
            server.pooled = 0

    def finish(self, balancer: str, node: str) -> None:
        server = self.balancers[balancer].servers[node]
        server.errors += self.machines[node].errs and server.sessions > 0
        keep = 1 if self.machines[node].slow else 0
        if server.left > keep:
            server.left -= 1
        elif server.sessions > keep:
            server.sessions -= 1
            server.pooled = 0 if server.admin is Admin.MAINT else 1

    def check(self, balancer: str, node: str) -> None:
        """One health check."""
        server = self.balancers[balancer].servers[node]
        answers = self.machines[node].answers and not server.cut_off
        if server.admin is Admin.MAINT:
            return
        if server.up != answers:
            server.up = answers
            self.disturb(f"lb:{balancer}")
        server.check = "L7OK" if answers else "L4CON"

    def happen(self) -> None:
        """Something small, at one server of one balancer."""
        balancer = self.random.choice(tuple(self.balancers))
        node = self.random.choice(tuple(self.machines))
        self.random.choice((self.request, self.finish, self.check))(balancer, node)
        self.step += 1

    def pass_time(self, seconds: float) -> None:
        """Checks, ends of requests and of phases, and what systemd starts again."""
        self.clock += seconds
        self.step += 1
        for machine in self.machines.values():
            if machine.unit == "deactivating" and not machine.stop_hangs:
                self._end_processes(machine, "inactive")
            if machine.unit == "activating":
                machine.restarts += 1
                if machine.powered:
                    self._launch(machine)
            for unit in machine.phases.values():
                if unit.running:
                    unit.left -= seconds
                    if unit.left <= 0:
                        self._end_phase(machine.name, unit)
        for balancer in self.balancers:
            for node in self.machines:
                self.check(balancer, node)
                self.finish(balancer, node)
