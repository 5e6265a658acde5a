"""A row of the drills: a fault, the step that it strikes, and what must follow. Plain data, and its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

NODES = ("node1", "node2", "node3")
"""In the order of their turns: the first is the new node, the others are the remaining ones."""
OUT_STEPS = ("take_out", "drained", "stop", "switch_release")
IN_STEPS = ("start", "healthy", "return_to_rotation", "soak")
OLD, NEW = "26.1.0", "28.1.0"

AT_FIRST = ("2023_1_contract01",)
EXPANDED = ("2023_1_contract01", "2024_1_expand01")
CONTRACTED = ("2024_1_contract01",)


@dataclass(frozen=True)
class Step:
    """A task of the run, and the node whose step it is; without a node a task of the whole fleet."""

    task: str
    node: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Airflow's task id and map index."""
        if self.node is None:
            return self.task, -1
        place = NODES.index(self.node)
        if self.task in ("preflight", "stage_release"):
            return self.task, place
        if place == 0:
            return f"{'new_node_out' if self.task in OUT_STEPS else 'new_node_in'}.{self.task}", -1
        return f"remaining_nodes.{self.task}", place - 1

    def __str__(self) -> str:
        return f"{self.task} of {self.node}" if self.node else self.task


@dataclass(frozen=True)
class Fault:
    """A fault of the lab, as ``./lab fault inject`` takes it."""

    name: str
    node: str | None = None
    balancer: str | None = None
    release: str | None = None
    archive: bool = False
    seconds: int | None = None

    def options(self) -> list[str]:
        given = {"--node": self.node, "--balancer": self.balancer, "--release": self.release, "--seconds": self.seconds}
        words = [word for option, value in given.items() if value is not None for word in (option, str(value))]
        return [*words, *(["--archive"] if self.archive else [])]

    def __str__(self) -> str:
        where = " and ".join(word for word in (self.node, self.balancer) if word)
        return f"{self.name} on {where}" if where else f"{self.name} of {self.release}"


class Kill(Enum):
    """SIGKILL of a process of Airflow's, or all of Airflow stopped and started."""

    TASK = "process of the task killed"
    WORKER = "executor's worker killed with its task"
    SCHEDULER = "scheduler killed"
    TRIGGERER = "triggerer killed"
    AIRFLOW = "Airflow stopped and started"

    def __str__(self) -> str:
        return self.value


class Hand(Enum):
    """What a person marks in Airflow's pages."""

    TASK_FAILED = "task marked failed by hand"
    RUN_FAILED = "run marked failed by hand"

    def __str__(self) -> str:
        return self.value


class Moment(Enum):
    """When a fault strikes, seen from its step."""

    BEFORE_THE_RUN = "before the run"
    ABOUT_TO_BEGIN = "about to begin"
    AT_WORK = "at work"
    STOPPING = "at work, and the service has closed its port"
    PHASE_RUNS = "at work, and the phase runs on the node"


@dataclass(frozen=True)
class State:
    """The fleet as it must be: while the fault is there, and as long as nobody lifts it."""

    runs: str
    """Release series that each node runs, in the order of NODES; ``-`` for none, ``?`` for not looked at."""
    out: tuple[str, ...] = ()
    """Nodes that are taken out on every balancer that answers; all others are in rotation there."""
    down: tuple[str, ...] = ()
    """Nodes that the balancers find not to answer, and that nobody has taken out."""
    held: tuple[str, ...] = ()
    """Nodes whose unit is kept from starting."""
    heads: tuple[str, ...] = AT_FIRST
    """Revisions that the schema is at."""
    silent: tuple[str, ...] = ()
    """Nodes that cannot be asked over SSH, and balancers that cannot be asked."""


@dataclass(frozen=True)
class GoesOn:
    """The run goes on by itself, and nobody lifts anything."""

    says: tuple[str, ...] = ()
    """What the log of the step says."""
    again: bool = False
    """The step is tried again by itself."""


@dataclass(frozen=True)
class Fails:
    """The step fails, saying so, and the run holds with the fleet so; lifted and cleared, it goes on."""

    says: tuple[str, ...]
    state: State
    clear: tuple[Step, ...]
    """Steps that the operator clears, with what follows them."""
    at: tuple[Step, ...] = ()
    """Steps that fail, where that is not the one that was struck alone."""
    lifted: State | None = None
    """The fleet after the fault was lifted and before anything is cleared, where that is worth a look."""


@dataclass(frozen=True)
class Waits:
    """The step waits, with the fleet so; lifted, it goes on by itself, or fails if ``then`` says so."""

    state: State
    says: tuple[str, ...] = ()
    then: Fails | None = None


@dataclass(frozen=True)
class Asks:
    """A person is asked, with the fleet so."""

    state: State
    says: tuple[str, ...]
    answer: str | None
    """What the person says; None: nobody answers, and the fault is lifted."""
    then: GoesOn | Waits | Fails


@dataclass(frozen=True)
class NewRun:
    """Nobody clears anything: a new run finds the fleet so, and brings it to its end."""

    state: State


@dataclass(frozen=True)
class RollsBack:
    """Nobody clears anything: a rollback finds the fleet so, and brings it back to the release before."""

    state: State


Then = GoesOn | Waits | Fails | Asks | NewRun | RollsBack


@dataclass(frozen=True)
class Drill:
    """One row. ``name`` is the row's, and its test's."""

    name: str
    fault: Fault | Kill | Hand
    at: Step
    then: Then
    when: Moment = Moment.AT_WORK
    given: tuple[Fault, ...] = ()
    """What is there besides, from before the run: it holds the step at work until the fault has struck."""
    conf: Mapping[str, Any] = field(default_factory=dict)
    """What the trigger form is given besides."""
    fleet: Mapping[str, Any] = field(default_factory=dict)
    """What the fleet file says besides."""
    staged: bool = True
    """The new release lies on every node from the beginning, so that a row does not wait for what it is not about."""
    transfer: str = "whole"
    """What becomes of a slow transfer: ``whole``, or ``cut``."""
    handful: bool = False
    """Also in `make test`."""

    @property
    def step(self) -> str:
        return f"{self.at}, {self.when.value}"
