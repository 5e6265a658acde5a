"""Runs of the real workflow on the simulated world, one change at a time, in an order drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from inspect import signature
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import TriggerEvent

from rolling_upgrade.fleet.inventory import Fleet
from tests.unit.rolling_upgrade.simulation.actors import Actor, KilledError, current, hand_over, sleep_until
from tests.unit.rolling_upgrade.simulation.workflow import Graph, Run, TaskInstance
from tests.unit.rolling_upgrade.simulation.world import World

EPOCH = 1_800_000_000.0
"""Where simulated time begins, in seconds as ``time.time()`` counts them."""
RETRIED = 0.5
"""How often Airflow tries a task again whose worker died; else its tries are used up."""
WORLD_SHARE = 0.2
"""How often the world does something small instead of a task going on."""


@dataclass
class Simulation:
    """Runs, their actors, and the world they work on."""

    world: World
    fleet: Fleet
    graph: Graph
    way_back: Graph
    """The workflow of a rollback."""
    runs: list[Run] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    on_success: list[Callable[[Run, TaskInstance], None]] = field(default_factory=list)

    # --- runs --------------------------------------------------------------------------------------------------

    def trigger(self, *, goes_back: bool = False, **form: Any) -> Run:
        graph = self.way_back if goes_back else self.graph
        run = Run(graph, f"run{len(self.runs) + 1}", form, self._begin, goes_back=goes_back)
        self.runs.append(run)
        self.world.note(f"person: triggers {'rollback' if goes_back else 'upgrade'} {run.run_id} with {form}")
        run.start()
        return run

    def run(self, run_id: str) -> Run:
        return next(run for run in self.runs if run.run_id == run_id)

    def _begin(self, run: Run, instance: TaskInstance) -> None:
        instance.made_at = self.world.clock
        self._act(run, instance, self._wait if instance.step.waits else self._execute)

    def _act(self, run: Run, instance: TaskInstance, work: Callable[[Run, TaskInstance], str]) -> None:
        actor = Actor(f"{run.run_id} {instance}", lambda: self._attempt(run, instance, actor, work))
        actor.task_id, actor.run_id, actor.map_index = instance.step.task_id, run.run_id, instance.map_index
        actor.node = node_of(run, instance)
        instance.actor, run.acted_at = actor, self.world.step
        instance.state = "deferred" if instance.step.waits else "running"
        self.actors.append(actor)

    def _attempt(
        self, run: Run, instance: TaskInstance, actor: Actor, work: Callable[[Run, TaskInstance], str]
    ) -> None:
        try:
            hand_over()
            state = work(run, instance)
            hand_over()
        except KilledError:
            return
        except Exception as error:
            if isinstance(error, NotImplementedError | AssertionError):
                raise
            instance.failure, state = str(error) or repr(error), "failed"
        if instance.actor is actor:
            instance.actor = None
            self.finish(run, instance, state)

    def finish(self, run: Run, instance: TaskInstance, state: str) -> None:
        self.world.step += 1
        run.acted_at = self.world.step
        reason = instance.failure.split("\n")[0] if state == "failed" else ""
        self.world.note(f"{run.run_id} {instance}: {state} {reason}")
        if state == "success":
            instance.succeeded_at = self.world.step
            for tell in self.on_success:
                tell(run, instance)
        run.set_state(instance, state)
        for actor in self.actors:
            if actor.waits_for_states:
                actor.waits_for_states, actor.wakes_at = False, self.world.clock

    @property
    def holder(self) -> Run | None:
        """The run that may change the fleet."""
        claim = self.world.database.holder
        return next((run for run in self.runs if claim and run.run_id == claim.run_id), None)

    def mark_failed(self, run: Run, instance: TaskInstance) -> None:
        """A person marks a task; Airflow kills it, and lets a wait settle."""
        trigger = instance.trigger if instance.state == "deferred" else None
        if instance.actor is not None:
            instance.actor.cancel()
            instance.actor = None
        instance.failure = ""
        self.finish(run, instance, "failed")
        if trigger is not None:
            self._let_settle(run, instance, trigger)

    def mark_run_failed(self, run: Run) -> None:
        waits = [i for i in run.instances.values() if i.state == "deferred" and i.trigger is not None]
        run.mark_failed()
        for instance in waits:
            self._let_settle(run, instance, instance.trigger)

    def _let_settle(self, run: Run, instance: TaskInstance, trigger: Any) -> None:
        def settle() -> None:
            with suppress(KilledError):
                _run_to_end(trigger.on_kill())

        actor = Actor(f"{run.run_id} {instance} (killed)", settle)
        actor.task_id, actor.run_id, actor.map_index = instance.step.task_id, run.run_id, instance.map_index
        self.actors.append(actor)

    # --- one attempt -------------------------------------------------------------------------------------------

    def _execute(self, run: Run, instance: TaskInstance) -> str:
        task, context = instance.step.task, self._context(run, instance)
        if hasattr(task, "python_callable"):
            value = task.python_callable(*(run.result(argument.operator.task_id) for argument in task.op_args))
        else:
            kind: Any = getattr(task, "operator_class", None) or type(task)
            made = _operator(kind, task, self.fleet.name, node_of(run, instance))
            # Each try has an operator of its own.
            value = copy(made).execute(context)
        instance.xcoms["return_value"] = value
        return "success"

    def _wait(self, run: Run, instance: TaskInstance) -> str:
        asked = instance.step.task.start_trigger_args
        module, _, name = asked.trigger_cls.rpartition(".")
        trigger = getattr(import_module(module), name)(**asked.trigger_kwargs)
        return self._watch(run, instance, trigger)

    def _watch(self, run: Run, instance: TaskInstance, trigger: Any) -> str:
        trigger.task_instance = _TaskInstance(self, run, instance)
        instance.trigger = trigger
        event = _run_trigger(trigger)
        if type(event) is TriggerEvent:
            return self._resume(run, instance, event.payload)
        instance.xcoms.update(event.xcoms or {})
        instance.failure = str(instance.xcoms.get("failure", ""))
        kinds = {"TaskSuccessEvent": "success", "TaskFailedEvent": "failed", "TaskSkippedEvent": "skipped"}
        return kinds[type(event).__name__]

    def _resume(self, run: Run, instance: TaskInstance, event: Any) -> str:
        """A wait goes to a worker with an event: it asks a person, or has been answered."""
        hand_over()
        try:
            instance.xcoms["return_value"] = instance.step.task.execute_complete(self._context(run, instance), event)
        except TaskDeferred as deferred:
            instance.asks = bool(getattr(deferred.trigger, "asked", False))
            return self._watch(run, instance, deferred.trigger)
        return "success"

    def answer(self, run: Run, instance: TaskInstance, choice: str) -> None:
        """A person answers what a wait asks; the wait ends, and a worker takes the answer."""
        if instance.actor is not None:
            instance.actor.cancel()
        instance.asks = False
        event = {"chosen_options": [choice], "responded_by_user": {"name": "somebody"}}
        self._act(run, instance, lambda run, instance: self._resume(run, instance, event))

    def _context(self, run: Run, instance: TaskInstance) -> dict[str, Any]:
        return {
            "ti": _TaskInstance(self, run, instance),
            "run_id": run.run_id,
            "params": run.params,
            "task": instance.step.task,
            "dag_run": SimpleNamespace(start_date=datetime.now(UTC), run_id=run.run_id),
        }

    def states(self, dag_id: str, run_ids: Sequence[str], task_ids: Sequence[str]) -> dict[str, dict[str, str | None]]:
        """Airflow's answer to the question for states of tasks."""
        hand_over()
        answer: dict[str, dict[str, str | None]] = {}
        for run in self.runs:
            if run.graph.dag_id == dag_id and run.run_id in run_ids:
                found = [instance for task_id in task_ids for instance in run.by_task[task_id]]
                answer[run.run_id] = {
                    i.step.task_id if i.map_index < 0 else f"{i.step.task_id}_{i.map_index}": i.state for i in found
                }
        actor = current()
        if actor is not None and actor.task_id.endswith(".turn"):
            actor.looked["states"] = self.world.step
        return answer

    # --- time --------------------------------------------------------------------------------------------------

    def go_on(self, *, quick: bool = False) -> bool:
        """Let one actor, or the world, make one step; False when all that is left waits for a person.

        ``quick`` lets time pass exactly as the actors ask; otherwise they may wake much later.
        """
        self.actors = [actor for actor in self.actors if not actor.dead and not actor.gone]
        if self.world.random.random() < WORLD_SHARE:
            self.world.happen()
        awake = [a for a in self.actors if not a.waits_for_states and a.wakes_at <= self.world.clock]
        if awake:
            self.world.random.choice(awake).switch()
            return True
        asleep = [a.wakes_at for a in self.actors if not a.waits_for_states]
        if not asleep:
            return False
        wanted = min(asleep) - self.world.clock
        late = 0.0 if quick else self.world.random.choice((0.0, 0.0, 0.0, 1.0, 7.0))
        self.world.pass_time(wanted + late)
        return True

    def sleep(self, seconds: float) -> None:
        actor = current()
        if actor is not None and actor.task_id.endswith(".turn"):
            # A turn polls the states of tasks alone; it is woken when one of them ends, not to look in vain.
            actor.waits_for_states = True
        sleep_until(self.world.clock + seconds)

    def kill(self, actor: Actor) -> None:
        """The process of a task dies; Airflow notices, and the task has failed."""
        actor.kill()
        for run in self.runs:
            for instance in list(run.instances.values()):
                if instance.actor is actor:
                    instance.actor, instance.failure = None, ""
                    if self.world.random.random() < RETRIED:
                        self._begin(run, instance)
                    else:
                        self.finish(run, instance, "failed")

    def restart_triggerer(self) -> None:
        """Every wait begins again from the world as it is."""
        for run in self.runs:
            for instance in list(run.instances.values()):
                if instance.actor is not None and instance.step.waits:
                    instance.actor.kill()
                    made_at = instance.made_at
                    self._begin(run, instance)
                    instance.made_at, instance.asks = made_at, False


def node_of(run: Run, instance: TaskInstance) -> str:
    """The node that a task of a run works on; the new node for what concerns the whole fleet."""
    nodes = run.nodes
    if not nodes:
        return ""
    if instance.step.mapped_over and instance.map_index >= 0:
        return str(run.result(instance.step.mapped_over)[instance.map_index])
    return str(nodes[0])


@cache
def _operator(kind: Any, task: Any, fleet: str, node: str) -> Any:
    """An operator as its worker has it, with its template rendered."""
    from rolling_upgrade.operators.step import NodeOperator

    own = {name for name in signature(kind.__init__).parameters if name not in ("self", "fleet", "node", "kwargs")}
    arguments = {name: getattr(task, name) for name in own if hasattr(task, name)}
    if issubclass(kind, NodeOperator):
        arguments["node"] = node
    return kind(task_id=task.task_id.replace(".", "_"), fleet=fleet, **arguments)


def _run_trigger(trigger: Any) -> Any:
    """Its one event. What it awaits hands over to the simulation by itself, so no event loop is needed."""

    async def first() -> Any:
        async for event in trigger.run():
            return event
        raise AssertionError("a trigger ended without an event")

    return _run_to_end(first())


def _run_to_end(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a trigger awaited something that the simulation does not know")


@dataclass
class _TaskInstance:
    """What an operator or a trigger gets as its task instance."""

    simulation: Simulation
    run: Run
    instance: TaskInstance

    @property
    def map_index(self) -> int:
        return self.instance.map_index

    @property
    def task_id(self) -> str:
        return self.instance.step.task_id

    @property
    def id(self) -> UUID:
        """As Airflow makes it: version 7, which begins with the milliseconds at which the try was made."""
        return UUID(int=int((EPOCH + self.instance.made_at) * 1000) << 80)

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def dag_id(self) -> str:
        return self.run.graph.dag_id

    def xcom_pull(self, task_ids: str, key: str = "return_value", map_indexes: int | None = None) -> Any:
        return self.run.result(task_ids, key, -1 if map_indexes is None else map_indexes)

    def xcom_push(self, key: str, value: Any) -> None:
        self.instance.xcoms[key] = value

    async def axcom_pull(self, *, task_ids: str, map_indexes: int, key: str = "return_value") -> Any:
        return self.run.result(task_ids, key, map_indexes)
