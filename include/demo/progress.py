"""What a run looks like from outside: task instances, balancers and counters become rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

OUT = ("take_out", "drained", "stop", "switch_release")
IN = ("start", "healthy", "return_to_rotation", "soak")
FLEET_STEPS = (
    "plan", "preflight", "stage_release", "line_up", "backup_database", "check_database", "expand", "expand_complete",
    "migrate", "migration_complete", "no_old_services", "approve_contract", "contract", "contract_complete", "verify",
    "report",
)  # fmt: skip
"""Steps that concern the whole fleet, in their order."""
NEW_NODE = (*(f"new_node_out.{step}" for step in OUT), *(f"new_node_in.{step}" for step in IN))
REMAINING = tuple(f"remaining_nodes.{step}" for step in ("turn", *OUT, *IN))
TURN = "remaining_nodes.turn"
WAITS_FOR_TURN, WAITS_FOR_SCHEMA = "waiting for its turn", "waiting for the schema"
# A task in one of these has begun or is about to.
BUSY = frozenset({"scheduled", "queued", "running", "deferred", "restarting", "up_for_retry", "up_for_reschedule"})
BAD = frozenset({"failed", "upstream_failed"})


@dataclass(frozen=True)
class Instance:
    """One task instance; ``map_index`` is -1 for a task that is not mapped; ``state`` None: not begun."""

    task_id: str
    map_index: int
    state: str | None
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True)
class ServerState:
    """One node as one balancer sees it; ``connections`` is None where the balancer could not be asked."""

    balancer: str
    node: str
    status: str
    connections: int | None


@dataclass(frozen=True)
class World:
    """What was seen beside Airflow."""

    servers: tuple[ServerState, ...] = ()
    requests: int | None = None
    failed_requests: int | None = None


@dataclass(frozen=True)
class Order:
    """Whose turn is when, as the run itself decided; before that the order of the inventory."""

    nodes: tuple[str, ...]
    remaining: tuple[str, ...]


@dataclass(frozen=True)
class StepRow:
    """One step of the whole fleet: ``done`` of ``total`` task instances have succeeded."""

    name: str
    state: str
    done: int
    total: int


@dataclass(frozen=True)
class NodeRow:
    """One node: its step, how long it has been in it, how long it has been out of rotation (seconds).

    ``step`` is the task's name without its group, or one of the two waits between tasks; empty before the first.
    """

    name: str
    step: str
    state: str
    seconds_in_step: float | None
    seconds_out: float | None
    servers: tuple[ServerState, ...]


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment."""

    run_state: str
    seconds: float
    steps: tuple[StepRow, ...]
    nodes: tuple[NodeRow, ...]
    requests: int | None
    failed_requests: int | None
    holds: bool = False
    """A step has failed and nothing is at work: the run waits for a person, and Airflow still calls it running."""


def instances_of(answer: Iterable[Mapping[str, Any]]) -> list[Instance]:
    """From the task instances of the REST API."""
    return [
        Instance(
            task_id=str(item["task_id"]),
            map_index=int(item.get("map_index", -1)),
            state=item.get("state"),
            start=_moment(item.get("start_date")),
            end=_moment(item.get("end_date")),
        )
        for item in answer
    ]


def snapshot(
    run_state: str, seconds: float, order: Order, instances: Sequence[Instance], world: World, now: datetime
) -> Snapshot:
    """The rows for this moment. ``now`` is in UTC, ``seconds`` counts from the trigger."""
    return Snapshot(
        run_state=run_state,
        seconds=seconds,
        steps=tuple(_step_row(name, instances) for name in FLEET_STEPS),
        nodes=tuple(_node_row(name, order, instances, world, now) for name in order.nodes),
        requests=world.requests,
        failed_requests=world.failed_requests,
        holds=holds(instances),
    )


def holds(instances: Iterable[Instance]) -> bool:
    """Whether a step has failed while nothing but turns of later nodes goes on."""
    states = [(one.task_id, one.state) for one in instances]
    at_work = any(state in BUSY and task_id != TURN for task_id, state in states)
    return not at_work and any(state == "failed" for _, state in states)


def _step_row(name: str, instances: Sequence[Instance]) -> StepRow:
    mine = [one for one in instances if one.task_id == name]
    return StepRow(name, _overall(mine), sum(one.state == "success" for one in mine), len(mine))


def _overall(instances: Sequence[Instance]) -> str:
    states = [one.state for one in instances]
    if any(state in BAD for state in states):
        return "failed"
    if any(state in BUSY for state in states):
        return "running"
    if states and all(state == "success" for state in states):
        return "done"
    if states and all(state == "skipped" for state in states):
        return "skipped"
    return "running" if any(state == "success" for state in states) else "waiting"


def _node_row(name: str, order: Order, instances: Sequence[Instance], world: World, now: datetime) -> NodeRow:
    mine = _tasks_of(name, order, instances)
    current = _current(mine)
    out = next((one for one in mine if one.task_id.endswith(".take_out")), None)
    back = next((one for one in mine if one.task_id.endswith(".return_to_rotation")), None)
    state = "waiting" if current is None else _overall([current])
    step = "" if current is None else current.task_id.rpartition(".")[2]
    if mine and all(one.state == "success" for one in mine) and step == IN[-1]:
        state, step = "done", ""
    elif step == OUT[-1] and state == "done":
        # Between the two halves the new node stands stopped while the schema moves.
        step, state = WAITS_FOR_SCHEMA, "running"
    elif step == "turn" and state == "running":
        step, state = WAITS_FOR_TURN, "waiting"
    return NodeRow(
        name=name,
        step=step,
        state=state,
        seconds_in_step=_lasted(current.start, current.end, now) if current else None,
        seconds_out=_lasted(out.start, back.end if back else None, now) if out else None,
        servers=tuple(one for one in world.servers if one.node == name),
    )


def _tasks_of(name: str, order: Order, instances: Sequence[Instance]) -> list[Instance]:
    """The node's own tasks in the order of the procedure."""
    if name in order.remaining:
        wanted, index = REMAINING, order.remaining.index(name)
    elif order.nodes and name == order.nodes[0]:
        wanted, index = NEW_NODE, -1
    else:
        return []
    rank = {task_id: place for place, task_id in enumerate(wanted)}
    mine = [one for one in instances if one.task_id in rank and one.map_index == index]
    return sorted(mine, key=lambda one: rank[one.task_id])


def _current(tasks: Sequence[Instance]) -> Instance | None:
    """The task that is failed or under way, else the last one that has ended; None before the first."""
    for one in tasks:
        if one.state == "failed":
            return one
    for one in tasks:
        if one.state in BUSY:
            return one
    ended = [one for one in tasks if one.state == "success"]
    return ended[-1] if ended else None


def _lasted(start: datetime | None, end: datetime | None, now: datetime) -> float | None:
    return None if start is None else max(0.0, ((end or now) - start).total_seconds())


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
