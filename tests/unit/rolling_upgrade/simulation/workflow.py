"""Airflow as far as this workflow uses it: states of task instances, mapping, trigger rules, XComs, clear and mark.

The graph is the real DAG's, read and not written again: a task that is added there takes part here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.rolling_upgrade.simulation.actors import Actor

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed"})
Key = tuple[str, int]


@dataclass(frozen=True)
class Step:
    """A task of the graph."""

    task_id: str
    task: Any
    upstream: tuple[str, ...]
    downstream: tuple[str, ...]
    rule: str
    group: str
    """The mapped group that it is in, or nothing."""
    mapped_over: str
    """The task whose result it is mapped over, or nothing."""

    @property
    def waits(self) -> bool:
        return bool(self.task.start_from_trigger)


class Graph:
    """The steps of the DAG and what follows what."""

    def __init__(self, dag: Any) -> None:
        self.dag_id = str(dag.dag_id)
        self.steps: dict[str, Step] = {}
        for task in dag.topological_sort():
            group = task.get_closest_mapped_task_group()
            source = (
                group._expand_input
                if group is not None
                else task.expand_input
                if hasattr(task, "expand_input")
                else None
            )
            over = next(operator.task_id for operator, _ in source.iter_references()) if source is not None else ""
            self.steps[task.task_id] = Step(
                task_id=task.task_id,
                task=task,
                upstream=tuple(sorted(task.upstream_task_ids)),
                downstream=tuple(sorted(task.downstream_task_ids)),
                rule=str(task.trigger_rule.value),
                group=group.group_id if group is not None else "",
                mapped_over=over,
            )

    def after(self, task_id: str) -> list[str]:
        """Every step that follows, near or far."""
        found, new = set[str](), {task_id}
        while new:
            new = {follower for step in new for follower in self.steps[step].downstream} - found
            found |= new
        return [step for step in self.steps if step in found]


@dataclass
class TaskInstance:
    """One task of one run, at one map index."""

    step: Step
    map_index: int
    state: str | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    actor: Actor | None = None
    trigger: Any = None
    asks: bool = False
    """A person is asked, and it goes on looking meanwhile."""
    made_at: float = 0.0
    """Simulated seconds at which this try was made."""
    succeeded_at: int = -1
    cleared_at: int = -1

    @property
    def key(self) -> Key:
        return self.step.task_id, self.map_index

    def __str__(self) -> str:
        return self.step.task_id if self.map_index < 0 else f"{self.step.task_id}[{self.map_index}]"


class Run:
    """One run of the workflow."""

    def __init__(
        self,
        graph: Graph,
        run_id: str,
        params: Mapping[str, Any],
        begin: Callable[[Run, TaskInstance], None],
        *,
        goes_back: bool = False,
    ) -> None:
        self.graph, self.run_id, self.params = graph, run_id, dict(params)
        self.goes_back = goes_back
        """It is a rollback."""
        self.acted_at = 0
        """When one of its tasks last began or ended, in steps of the world."""
        self.state = "running"
        self._begin = begin
        self.passed_over_by_hand = False
        self.instances: dict[Key, TaskInstance] = {}
        self.by_task: dict[str, list[TaskInstance]] = {}
        for step in graph.steps.values():
            self._make(step, [-1])

    def _make(self, step: Step, indexes: Iterable[int]) -> None:
        for instance in self.by_task.get(step.task_id, []):
            del self.instances[instance.key]
        made = [TaskInstance(step, index) for index in indexes]
        self.by_task[step.task_id] = made
        self.instances |= {instance.key: instance for instance in made}

    def result(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        instance = self.instances.get((task_id, map_index))
        return instance.xcoms.get(key) if instance else None

    @property
    def target(self) -> str | None:
        """The release that its plan leads to, once there is one."""
        plan = self.result("plan", "plan")
        return str(plan["target_release"]) if plan else None

    @property
    def nodes(self) -> list[str]:
        return list(self.result("plan") or [])

    # --- the scheduler -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._consider(self.instances.values())

    def set_state(self, instance: TaskInstance, state: str) -> None:
        """A task has come to that state; whatever may begin now begins."""
        instance.state = state
        if state == "success":
            self._expand_what_is_mapped_over(instance.step.task_id)
        if state in FINISHED:
            for follower in instance.step.downstream:
                self._consider(self._followers(instance, follower))
        self._end_if_over()

    def _followers(self, instance: TaskInstance, task_id: str) -> list[TaskInstance]:
        step = self.graph.steps[task_id]
        if step.group and step.group == instance.step.group:
            return [i for i in self.by_task[task_id] if i.map_index == instance.map_index]
        return self.by_task[task_id]

    def _expand_what_is_mapped_over(self, task_id: str) -> None:
        for step in self.graph.steps.values():
            if step.mapped_over == task_id:
                length = len(self.result(task_id))
                if [i.map_index for i in self.by_task[step.task_id]] != list(range(length)):
                    self._make(step, range(length) if length else [-1])

    def _upstream(self, instance: TaskInstance) -> list[TaskInstance]:
        found: list[TaskInstance] = []
        for task_id in instance.step.upstream:
            step = self.graph.steps[task_id]
            same = bool(step.group) and step.group == instance.step.group
            found += [i for i in self.by_task[task_id] if not same or i.map_index == instance.map_index]
        return found

    def _consider(self, instances: Iterable[TaskInstance]) -> None:
        for instance in list(instances):
            if instance.state is not None or self.state != "running":
                continue
            states = [upstream.state for upstream in self._upstream(instance)]
            if not all(state in FINISHED for state in states):
                continue
            if "failed" in states or "upstream_failed" in states:
                self.set_state(instance, "upstream_failed")
            elif "skipped" in states and instance.step.rule == "all_success":
                self.set_state(instance, "skipped")
            elif instance.map_index < 0 and instance.step.mapped_over:
                self.set_state(instance, "skipped")  # mapped over nothing
            else:
                instance.xcoms, instance.failure, instance.asks = {}, "", False
                self._begin(self, instance)

    def _end_if_over(self) -> None:
        states = {instance.state for instance in self.instances.values()}
        if self.state == "running" and states <= FINISHED:
            self.state = "failed" if states & {"failed", "upstream_failed"} else "success"

    # --- what a person does ------------------------------------------------------------------------------------

    def clear(self, instance: TaskInstance, step_of_the_world: int, *, downstream: bool = True) -> None:
        """Clear a task, with what follows it: in a mapped group at its own map index, after the group everything."""
        cleared = [instance]
        for task_id in self.graph.after(instance.step.task_id) if downstream else []:
            cleared += self._followers(instance, task_id)
        for one in cleared:
            if one.actor is not None:
                one.actor.cancel()
            one.actor, one.state, one.cleared_at = None, None, step_of_the_world
        self.state = "running"
        self._consider(cleared)

    def resume(self) -> None:
        """Go on after states were set by hand."""
        self.state = "running"
        self._consider(self.instances.values())
        self._end_if_over()

    def mark_failed(self) -> None:
        """Mark the whole run failed: what is at work ends, what has not begun is skipped."""
        self.state = "failed"
        for instance in self.instances.values():
            if instance.actor is not None:
                instance.actor.cancel()
                instance.actor = None
            if instance.state not in FINISHED:
                instance.state = "failed" if instance.state in ("running", "deferred") else "skipped"
