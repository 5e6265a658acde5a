"""The hooks of the package, with the simulated world behind them instead of a socket, SSH or SQL.

Only the last step is replaced: what a hook makes of an answer, and everything above it, is the real code. A command
that the simulated node does not know is an error of the simulation, never silently a success.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.decisions.drain import OpenSession
from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.decisions.proof import NodeView
from rolling_upgrade.decisions.rotation import ServerView
from rolling_upgrade.decisions.schema_checks import DatabaseFacts, LoginFacts
from rolling_upgrade.errors import PrecheckError, UnreachableError
from rolling_upgrade.fleet import inventory
from rolling_upgrade.fleet.inventory import Balancer, Node
from rolling_upgrade.hooks.balancer import Admin, BalancerHook
from rolling_upgrade.hooks.node import CommandResult, NodeHook
from rolling_upgrade.hooks.node_facts import OPTION_LINES
from rolling_upgrade.hooks.unit import REMOVE_HOLD
from rolling_upgrade.services.glance import GLANCE
from rolling_upgrade.services.profile import ServiceProfile
from tests.unit.rolling_upgrade.simulation.actors import hand_over
from tests.unit.rolling_upgrade.simulation.things import Machine, PhaseUnit
from tests.unit.rolling_upgrade.simulation.world import World

FINE = CommandResult(0, "", "")


def unreachable(what: str) -> UnreachableError:
    return UnreachableError(
        f"{what} is silent.", expected="an answer.", safe="as before.", next_step="clear this task."
    )


class SimulatedBalancer(BalancerHook):
    """One balancer of the world."""

    def __init__(self, world: World, balancer: Balancer) -> None:
        super().__init__(balancer, "")
        self._world = world

    def _answer(self) -> None:
        hand_over()
        if not self._world.balancers[self.name].reachable:
            raise unreachable(self.name)

    def servers(self) -> list[ServerView]:
        self._answer()
        self._world.look(f"lb:{self.name}")
        return self._world.views(self.name)

    def set_state(self, server: str, state: Admin) -> None:
        self._answer()
        self._world.set_state(self.name, server, state)
        self._answer()

    def forget_health(self, server: str) -> None:
        self._answer()
        self._world.forget_health(self.name, server)

    def sessions(self, server: str) -> list[OpenSession]:
        self._answer()
        return [
            OpenSession(self.name, server, "198.18.26.99:1", 1)
            for _ in range(self._world.balancers[self.name].servers[server].sessions)
        ]

    def refusal_of_admin(self) -> str | None:
        self._answer()
        return None


class SimulatedNode(NodeHook):
    """One node of the world, over a connection that can break at every command, before it or after it."""

    def __init__(self, world: World, node: Node) -> None:
        self.node = node
        self._world = world
        self._machine: Machine = world.machines[node.name]

    def _answer(self) -> None:
        hand_over()
        if not (self._machine.powered and self._machine.ssh):
            raise unreachable(self.node.name)

    @contextmanager
    def connected(self) -> Iterator[NodeHook]:
        self._answer()
        yield self

    def observe(self, profile: ServiceProfile) -> NodeView:
        self._answer()
        self._world.look(f"node:{self.node.name}")
        return self._world.view_of(self.node.name)

    def run(
        self,
        command: Sequence[str],
        *,
        sudo: str | None = None,
        stdin: bytes = b"",
        timeout: float = 60.0,
        what: str | None = None,
    ) -> CommandResult:
        self._answer()
        result = self._do(list(command))
        self._answer()
        return result

    def _do(self, command: list[str]) -> CommandResult:
        match command:
            case ["systemctl", "reset-failed", _]:
                self._world.forget_restarts(self.node.name)
                return FINE
            case ["systemctl", "stop", "--no-block", GLANCE.unit]:
                self._world.stop_unit(self.node.name)
                return FINE
            case ["systemctl", "start", GLANCE.unit]:
                self._world.start_unit(self.node.name)
                return FINE
            case ["systemd-run", *words]:
                return self._run_phase(words)
            case ["sh", "-euc", script, "step", *arguments]:
                return self._script(script, arguments)
        return self._say(command)

    def _say(self, command: list[str]) -> CommandResult:
        """Answers to questions: these change nothing."""
        match command:
            case ["true"] | ["journalctl", *_]:
                return FINE
            case ["df", *_]:
                return CommandResult(0, "Avail\n1000000000\n", "")
            case ["systemctl", "show", "-p", "LoadState", *_]:
                return CommandResult(0, "loaded\n", "")
            case ["systemctl", "show", "-p", _, unit]:
                return CommandResult(0, _shown(self._machine.phases.get(unit)), "")
            case ["systemctl", "list-units", *_]:
                running = [name for name, unit in self._machine.phases.items() if unit.running]
                return CommandResult(0, "\n".join(f"{name} loaded active running" for name in running), "")
            case ["ss", *_]:
                self._world.look(f"node:{self.node.name}")
                return CommandResult(0, "ESTAB\n" * self._world.connections(self.node.name), "")
            case [tool, "--config-file", _, "db", "check"] if tool.endswith(GLANCE.manage):
                status = self._world.schema_state().value if self._world.database.reachable else 1
                return CommandResult(status, "", "")
            case [tool, "--config-file", _, "upgrade", "check"]:
                release = tool.removeprefix(f"{GLANCE.releases}/").partition("/")[0]
                return FINE if release in self._machine.staged else CommandResult(127, "", "no such file")
        raise NotImplementedError(f"the simulated node does not know {command}")

    def _script(self, script: str, arguments: list[str]) -> CommandResult:
        match arguments:
            case [_, *_] if script == OPTION_LINES:
                return FINE
            case [_, _] if "mkdir -p" in script and "daemon-reload" in script:
                self._machine.held = True
                return FINE
            case [_] if script == REMOVE_HOLD:
                self._machine.held = False
                return FINE
            case [current, tree] if "mv -T" in script and current == GLANCE.current:
                self._world.switch(self.node.name, tree.removeprefix("releases/"))
                return FINE
            case [unit] if "systemctl stop" in script and unit in self._machine.phases:
                self._machine.phases.pop(unit)
                return FINE
        raise NotImplementedError(f"the simulated node does not know {script!r} with {arguments}")

    def _run_phase(self, words: list[str]) -> CommandResult:
        name = next(word for word in words if word.startswith("--unit=")).removeprefix("--unit=")
        if name in self._machine.phases:
            return CommandResult(1, "", f"Unit {name} already exists")
        release = name.removesuffix(".service").rpartition("-")[2]
        self._world.start_phase(self.node.name, name, Phase(words[-1]), release)
        return FINE


def _shown(unit: PhaseUnit | None) -> str:
    if unit is None:
        return "LoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\nExecMainStatus=0\n"
    active, sub = ("active", "running" if unit.running else "exited") if unit.status == 0 else ("failed", "failed")
    result = "success" if unit.status == 0 else "exit-code"
    return f"LoadState=loaded\nActiveState={active}\nSubState={sub}\nResult={result}\nExecMainStatus={unit.status}\n"


class SimulatedClaims:
    """The row of the claims; each statement is one change."""

    def __init__(self, world: World) -> None:
        self._database = world.database

    @contextmanager
    def connected(self) -> Iterator[SimulatedClaims]:
        self._answer()
        yield self

    def _answer(self) -> None:
        hand_over()
        if not self._database.reachable:
            raise unreachable("database")

    def holder(self) -> Holder | None:
        self._answer()
        return self._database.holder

    def claim(self, me: Holder) -> bool:
        return self._set(None, me)

    def take_over(self, old: Holder, me: Holder) -> bool:
        return self._set(old, me)

    def release(self, me: Holder) -> bool:
        return self._set(me, None)

    def _set(self, expected: Holder | None, holder: Holder | None) -> bool:
        self._answer()
        if self._database.holder != expected:
            return False
        self._database.holder = holder
        return True

    def release_statement(self, holder: Holder) -> str:
        return f"DELETE {holder.run_id}"


@contextmanager
def simulated_lock(world: World) -> Iterator[None]:
    """What keeps dumps and the beginnings of phases apart; a killed owner lets it go."""
    hand_over()
    if not world.database.reachable:
        raise unreachable("database")
    if world.database.locked:
        raise PrecheckError("a dump is under way", expected="its end", safe="all is as it was", next_step="wait")
    world.database.locked = True
    try:
        yield
    finally:
        world.database.locked = False


def set_mark(world: World, release: str | None) -> None:
    """Write or take away the row that says that contract has begun; the answer may be lost on its way."""
    read_mark(world)
    world.mark_contract(release)
    read_mark(world)


def read_mark(world: World) -> str | None:
    hand_over()
    if not world.database.reachable:
        raise unreachable("database")
    return world.database.contract_mark


class SimulatedTrust:
    """The variable, and the rows that remember it; a transaction that ends half-way leaves the rows as they were."""

    def __init__(self, world: World, database: inventory.Database) -> None:
        self.database = database
        self._world = world

    @contextmanager
    def connected(self) -> Iterator[SimulatedTrust]:
        self._answer()
        yield self

    def _answer(self) -> None:
        hand_over()
        if not self._world.database.reachable:
            raise unreachable("database")

    def rows(self) -> dict[str, bool]:
        self._answer()
        return dict(self._world.database.trusted_before)

    @contextmanager
    def locked(self, *, make: bool = False) -> Iterator[dict[str, bool]]:
        before = self.rows()
        try:
            yield dict(before)
            self._answer()
        except BaseException:
            self._world.database.trusted_before = before
            raise

    def remember(self, name: str, *, previous: bool) -> None:
        self._world.database.trusted_before = {**self._world.database.trusted_before, name: previous}

    def forget(self, name: str) -> None:
        self._world.database.trusted_before = {}

    def value(self) -> bool:
        self._answer()
        return self._world.database.trusts

    def set(self, value: bool) -> None:
        self._answer()
        self._world.set_trust(value)
        self._answer()


def login_facts(world: World) -> LoginFacts:
    """A server with a binary log, and a login that may do all but what the server itself must allow."""
    hand_over()
    if not world.database.reachable:
        raise unreachable("database")
    grants = ("GRANT ALL PRIVILEGES ON `glance`.* TO `glance`@`%`",)
    return LoginFacts("10.11.14-MariaDB", "glance@%", grants, binary_log=True, trusts_creators=world.database.trusts)


def database_facts(world: World) -> DatabaseFacts:
    """What the database says before its schema changes."""
    login = login_facts(world)
    world.look("database")
    world.look("transactions")
    heads = tuple(sorted(world.database.heads))
    return DatabaseFacts(login, heads, world.database.transactions, leftovers=())


class SimulatedDatabase:
    """The database of the world, as every login sees it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _answer(self) -> None:
        hand_over()
        if not self._world.database.reachable:
            raise unreachable("database")

    def heads(self) -> tuple[str, ...]:
        self._answer()
        self._world.look("database")
        return tuple(sorted(self._world.database.heads))

    def session_hosts(self, user: str) -> tuple[str, ...]:
        self._answer()
        return ()
