"""The drills: what strikes a rollout, at which step, and what must follow. One row each, for an operator to read.

node1 is the new node, node2 and node3 follow it. Three rules hold for every row and are not repeated: no request fails
but those that the fault itself cuts, never are two nodes out, and nothing that was done is done again.
"""

from __future__ import annotations

from typing import Any

from tests.drills.drill import (
    EXPANDED,
    NEW,
    NODES,
    OLD,
    Asks,
    Drill,
    Fails,
    Fault,
    GoesOn,
    Hand,
    Kill,
    Moment,
    NewRun,
    RollsBack,
    State,
    Step,
    Waits,
)

SERVES_OLD = State("26 26 26")
NODE1_STOPPED = State("- 26 26", out=("node1",), held=("node1",))
NODE1_OFF = State("- 26 26", out=("node1",), silent=("node1",))
NODE1_EXPANDED = State("- 26 26", out=("node1",), held=("node1",), heads=EXPANDED)
NODE1_NEW_OUT = State("28 26 26", out=("node1",), heads=EXPANDED)
NODE1_DONE = State("28 26 26", heads=EXPANDED)
NODE2_OUT = State("28 26 26", out=("node2",), heads=EXPANDED)
NODE2_HELD = State("28 26 26", out=("node2",), held=("node2",), heads=EXPANDED)
NODE2_STOPPED = State("28 - 26", out=("node2",), held=("node2",), heads=EXPANDED)
NODE2_SILENT = State("28 26 26", out=("node2",), silent=("node2",), heads=EXPANDED)
NODE2_OFF = State("28 - 26", out=("node2",), silent=("node2",), heads=EXPANDED)

KEEPS_NODE1_BUSY = (Fault("slow-transfer", node="node1", balancer="lb2"),)
KEEPS_NODE2_BUSY = (Fault("slow-transfer", node="node2", balancer="lb2"),)
LONG_TRANSFER = Fault("slow-transfer", node="node2", balancer="lb1")
SHORT_DRAIN = {"drain_timeout_seconds": 20}
ASKS = {**SHORT_DRAIN, "on_drain_timeout": "ask"}
SHORT_STOP = {"stop": {"seconds": 10}}
LISTED = ("is not drained after 20 s", "1 open: 127.0.0.1:", " s through lb1")
PUT_BACK = "put back into rotation on lb1, lb2"
NO_SSH = "cannot be asked over SSH"


def each(task: str) -> tuple[Step, ...]:
    """The step on every node."""
    return tuple(Step(task, node) for node in NODES)


BALANCERS = [
    Drill(
        "balancer restarted in a drain",
        Fault("balancer-restart", balancer="lb1"),
        at=Step("drained", "node2"),
        then=GoesOn(says=("lb1 lost the drain; it is set again",)),
        given=KEEPS_NODE2_BUSY,
    ),
    Drill(
        "balancer restarted while a node is stopped",
        Fault("balancer-restart", balancer="lb1"),
        at=Step("expand_complete"),
        when=Moment.PHASE_RUNS,
        then=GoesOn(),
    ),
    Drill(
        "balancer unreachable before a node leaves",
        Fault("balancer-unreachable", balancer="lb2"),
        at=Step("take_out", "node1"),
        when=Moment.ABOUT_TO_BEGIN,
        then=Fails(
            says=("balancer lb2 cannot be asked",),
            state=State("26 26 26", silent=("lb2",)),
            clear=(Step("take_out", "node1"),),
        ),
    ),
    Drill(
        "balancer unreachable in a drain",
        Fault("balancer-unreachable", balancer="lb1"),
        at=Step("drained", "node2"),
        then=Waits(
            says=("still waiting: balancer lb1 cannot be asked",),
            state=State("28 26 26", out=("node2",), heads=EXPANDED, silent=("lb1",)),
        ),
        given=KEEPS_NODE2_BUSY,
    ),
    Drill(
        "server named otherwise on a balancer",
        Fault("wrong-server-name", node="node3", balancer="lb2"),
        at=Step("preflight", "node3"),
        when=Moment.BEFORE_THE_RUN,
        then=Fails(says=("balancer lb2 has no server node3",), state=SERVES_OLD, clear=(Step("preflight", "node3"),)),
    ),
]

NODES_AND_SSH = [
    Drill(
        "node frozen in its drain",
        Fault("node-freeze", node="node2"),
        at=Step("drained", "node2"),
        then=Waits(state=NODE2_SILENT),
        given=KEEPS_NODE2_BUSY,
    ),
    Drill(
        "node frozen before its stop",
        Fault("node-freeze", node="node2"),
        at=Step("stop", "node2"),
        when=Moment.ABOUT_TO_BEGIN,
        then=Fails(
            says=(NO_SSH, "node2 was not stopped by this step and was put back"),
            state=State("28 26 26", down=("node2",), silent=("node2",), heads=EXPANDED),
            lifted=NODE1_DONE,
            clear=(Step("take_out", "node2"),),
        ),
    ),
    Drill(
        "power lost in a drain, and back in time",
        Fault("node-power-off", node="node2"),
        at=Step("drained", "node2"),
        then=Waits(state=NODE2_OFF),
        given=KEEPS_NODE2_BUSY,
        transfer="cut",
    ),
    Drill(
        "power lost in a drain, and not back in time",
        Fault("node-power-off", node="node2"),
        at=Step("drained", "node2"),
        then=Fails(
            says=("node2 still runs and was " + PUT_BACK,),
            state=State("28 - 26", down=("node2",), silent=("node2",), heads=EXPANDED),
            lifted=NODE1_DONE,
            clear=(Step("take_out", "node2"),),
        ),
        given=KEEPS_NODE2_BUSY,
        conf={"drain_timeout_seconds": 25},
        transfer="cut",
    ),
    Drill(
        "power lost between stop and switch",
        Fault("node-power-off", node="node1"),
        at=Step("switch_release", "node1"),
        when=Moment.ABOUT_TO_BEGIN,
        then=Fails(says=(NO_SSH,), state=NODE1_OFF, lifted=NODE1_STOPPED, clear=(Step("switch_release", "node1"),)),
    ),
    Drill(
        "power lost while the schema expands",
        Fault("node-power-off", node="node1"),
        at=Step("expand_complete"),
        when=Moment.PHASE_RUNS,
        then=Waits(
            says=("still waiting: node node1",),
            state=NODE1_OFF,
            then=Fails(says=("expand left no unit behind",), state=NODE1_STOPPED, clear=(Step("expand"),)),
        ),
    ),
    Drill(
        "power lost after the start",
        Fault("node-power-off", node="node2"),
        at=Step("healthy", "node2"),
        then=Waits(says=("still waiting: node node2",), state=NODE2_OFF),
    ),
    Drill(
        "SSH cut while the release is brought",
        Fault("ssh-cut", node="node2"),
        at=Step("stage_release", "node2"),
        staged=False,
        then=Fails(says=(NO_SSH,), state=State("26 26 26", silent=("node2",)), clear=(Step("stage_release", "node2"),)),
    ),
    Drill(
        "SSH cut in a drain",
        Fault("ssh-cut", node="node2"),
        at=Step("drained", "node2"),
        then=Waits(says=("still waiting: node node2",), state=NODE2_SILENT),
    ),
    Drill(
        "SSH cut before the stop",
        Fault("ssh-cut", node="node2"),
        at=Step("stop", "node2"),
        when=Moment.ABOUT_TO_BEGIN,
        then=Fails(
            says=(NO_SSH, "node2 was not stopped by this step and was " + PUT_BACK),
            state=State("28 26 26", silent=("node2",), heads=EXPANDED),
            clear=(Step("take_out", "node2"),),
        ),
    ),
    Drill(
        "SSH cut while the schema expands",
        Fault("ssh-cut", node="node1"),
        at=Step("expand_complete"),
        when=Moment.PHASE_RUNS,
        then=Waits(
            says=("still waiting: node node1",),
            # The phase is systemd's and goes on without us.
            state=State("- 26 26", out=("node1",), silent=("node1",), heads=EXPANDED),
        ),
    ),
]

DRAINS = [
    Drill(
        "long transfer, hold",
        LONG_TRANSFER,
        at=Step("drained", "node2"),
        when=Moment.BEFORE_THE_RUN,
        conf=SHORT_DRAIN,
        then=Fails(says=(*LISTED, PUT_BACK), state=NODE1_DONE, clear=(Step("take_out", "node2"),)),
    ),
    Drill(
        "long transfer, ask: wait on",
        LONG_TRANSFER,
        at=Step("drained", "node2"),
        when=Moment.BEFORE_THE_RUN,
        conf=ASKS,
        then=Asks(says=LISTED, state=NODE2_OUT, answer="wait on", then=Waits(state=NODE2_OUT)),
    ),
    Drill(
        "long transfer, ask: put back",
        LONG_TRANSFER,
        at=Step("drained", "node2"),
        when=Moment.BEFORE_THE_RUN,
        conf=ASKS,
        then=Asks(
            says=LISTED,
            state=NODE2_OUT,
            answer="put back",
            then=Fails(says=("chose to put it back", PUT_BACK), state=NODE1_DONE, clear=(Step("take_out", "node2"),)),
        ),
    ),
    Drill(
        "long transfer, ask: cut",
        LONG_TRANSFER,
        at=Step("drained", "node2"),
        when=Moment.BEFORE_THE_RUN,
        conf=ASKS,
        then=Asks(says=LISTED, state=NODE2_OUT, answer="cut", then=GoesOn()),
        transfer="cut",
    ),
    Drill(
        "long transfer, ask: it ends before anybody answers",
        LONG_TRANSFER,
        at=Step("drained", "node2"),
        when=Moment.BEFORE_THE_RUN,
        conf=ASKS,
        then=Asks(says=LISTED, state=NODE2_OUT, answer=None, then=GoesOn()),
    ),
    Drill(
        "long transfer, cut",
        LONG_TRANSFER,
        at=Step("drained", "node2"),
        when=Moment.BEFORE_THE_RUN,
        conf={**SHORT_DRAIN, "on_drain_timeout": "cut"},
        then=GoesOn(says=("not drained, and cut by choice of the run's on_drain_timeout: 1 open",)),
        transfer="cut",
    ),
]

RELEASES = [
    Drill(
        "release crash-loops",
        Fault("crash-loop", node="node2", release=NEW),
        at=Step("start", "node2"),
        when=Moment.ABOUT_TO_BEGIN,
        then=Fails(
            at=(Step("healthy", "node2"),),
            says=("node2 crash-loops",),
            state=State("28 ? 26", out=("node2",), heads=EXPANDED),
            clear=(Step("start", "node2"),),
        ),
        handful=True,
    ),
    Drill(
        "archive corrupt from the beginning",
        Fault("corrupt-archive", release=NEW),
        at=Step("preflight", "node1"),
        when=Moment.BEFORE_THE_RUN,
        staged=False,
        then=Fails(
            at=each("preflight"), says=("has checksum ", "its .sha256 says "), state=SERVES_OLD, clear=each("preflight")
        ),
    ),
    Drill(
        "archive corrupt after preflight",
        Fault("corrupt-archive", release=NEW),
        at=Step("stage_release", "node1"),
        when=Moment.ABOUT_TO_BEGIN,
        staged=False,
        then=Fails(at=each("stage_release"), says=("did NOT match",), state=SERVES_OLD, clear=each("stage_release")),
    ),
    Drill(
        "disk full from the beginning",
        Fault("full-disk", node="node2"),
        at=Step("preflight", "node2"),
        when=Moment.BEFORE_THE_RUN,
        staged=False,
        then=Fails(says=("/opt/glance has 0 MiB free",), state=SERVES_OLD, clear=(Step("preflight", "node2"),)),
    ),
    Drill(
        "disk full after preflight",
        Fault("full-disk", node="node2"),
        at=Step("stage_release", "node2"),
        when=Moment.ABOUT_TO_BEGIN,
        staged=False,
        then=Fails(says=("No space left on device",), state=SERVES_OLD, clear=(Step("stage_release", "node2"),)),
    ),
    Drill(
        "orphans on the port",
        Fault("orphans", node="node2", release=OLD),
        at=Step("stop", "node2"),
        when=Moment.BEFORE_THE_RUN,
        fleet=SHORT_STOP,
        then=Fails(
            says=("pid ", "an orphan: it shares the port and is not of the unit", "nothing was killed"),
            state=NODE2_HELD,
            clear=(Step("stop", "node2"),),
        ),
    ),
    Drill(
        "service deaf to its stop",
        Fault("stop-hangs", node="node2"),
        at=Step("stop", "node2"),
        when=Moment.BEFORE_THE_RUN,
        fleet=SHORT_STOP,
        then=Fails(
            says=("was told to stop, and 10 s later", "nothing was killed", "end what is named on the node by its pid"),
            state=NODE2_HELD,
            clear=(Step("stop", "node2"),),
        ),
    ),
    Drill(
        "node answers with errors after its return",
        Fault("error-responses", node="node2"),
        at=Step("soak", "node2"),
        conf={"soak_seconds": 15},
        then=Fails(
            says=("node2 made errors", "node2 was taken out of rotation again"),
            state=State("28 28 26", out=("node2",), heads=EXPANDED),
            clear=(Step("start", "node2"),),
        ),
    ),
]

AIRFLOW = [
    Drill("task killed at take_out", Kill.TASK, at=Step("take_out", "node2"), then=GoesOn(again=True)),
    Drill(
        "task killed at stop",
        Kill.TASK,
        at=Step("stop", "node2"),
        when=Moment.STOPPING,
        then=GoesOn(again=True),
        handful=True,
    ),
    Drill(
        "worker killed at stop",
        Kill.WORKER,
        at=Step("stop", "node1"),
        when=Moment.STOPPING,
        then=GoesOn(again=True),
    ),
    Drill("task killed at switch_release", Kill.TASK, at=Step("switch_release", "node1"), then=GoesOn(again=True)),
    Drill("task killed at start", Kill.TASK, at=Step("start", "node2"), then=GoesOn(again=True)),
    Drill(
        "task killed at return_to_rotation",
        Kill.TASK,
        at=Step("return_to_rotation", "node2"),
        then=GoesOn(again=True),
    ),
    Drill("task killed at expand", Kill.TASK, at=Step("expand"), then=GoesOn(again=True)),
    Drill("task killed at migrate", Kill.TASK, at=Step("migrate"), then=GoesOn(again=True)),
    Drill("task killed at contract", Kill.TASK, at=Step("contract"), then=GoesOn(again=True)),
    Drill(
        "triggerer killed while the schema expands",
        Kill.TRIGGERER,
        at=Step("expand_complete"),
        when=Moment.PHASE_RUNS,
        then=GoesOn(),
    ),
    Drill(
        "scheduler killed in a drain",
        Kill.SCHEDULER,
        at=Step("drained", "node2"),
        then=GoesOn(),
        given=KEEPS_NODE2_BUSY,
    ),
    Drill(
        "triggerer killed in a drain",
        Kill.TRIGGERER,
        at=Step("drained", "node2"),
        then=GoesOn(),
        given=KEEPS_NODE2_BUSY,
    ),
    Drill("triggerer killed while a node waits for its turn", Kill.TRIGGERER, at=Step("turn", "node3"), then=GoesOn()),
    Drill(
        "Airflow stopped and started in a drain",
        Kill.AIRFLOW,
        at=Step("drained", "node2"),
        then=GoesOn(),
        given=KEEPS_NODE2_BUSY,
    ),
    Drill(
        "Airflow stopped and started while the schema expands",
        Kill.AIRFLOW,
        at=Step("expand_complete"),
        when=Moment.PHASE_RUNS,
        then=GoesOn(),
    ),
]

BY_HAND = [
    Drill(
        "drain marked failed by hand",
        Hand.TASK_FAILED,
        at=Step("drained", "node2"),
        given=KEEPS_NODE2_BUSY,
        then=Fails(says=(), state=NODE2_OUT, clear=(Step("drained", "node2"),)),
    ),
    Drill(
        "run marked failed in a drain",
        Hand.RUN_FAILED,
        at=Step("drained", "node2"),
        given=KEEPS_NODE2_BUSY,
        then=NewRun(state=NODE2_OUT),
    ),
    Drill(
        "run marked failed while a node is stopped",
        Hand.RUN_FAILED,
        at=Step("switch_release", "node2"),
        when=Moment.ABOUT_TO_BEGIN,
        then=NewRun(state=NODE2_STOPPED),
    ),
]


def rolled_back(name: str, at: Step, state: State, *, when: Moment = Moment.ABOUT_TO_BEGIN, **more: Any) -> Drill:
    """The run is given up at that step, and a rollback follows."""
    return Drill(f"rolled back {name}", Hand.RUN_FAILED, at=at, when=when, then=RollsBack(state), **more)


ROLLBACKS = [
    rolled_back(
        "in a drain",
        Step("drained", "node1"),
        State("26 26 26", out=("node1",)),
        when=Moment.AT_WORK,
        given=KEEPS_NODE1_BUSY,
    ),
    rolled_back("with a node drained", Step("stop", "node1"), State("26 26 26", out=("node1",))),
    rolled_back("with a node stopped", Step("switch_release", "node1"), NODE1_STOPPED),
    rolled_back("with a node switched", Step("expand"), NODE1_STOPPED),
    rolled_back("with the schema expanded", Step("migrate"), NODE1_EXPANDED, handful=True),
    rolled_back("with the data migrated", Step("start", "node1"), NODE1_EXPANDED),
    rolled_back("with the new node started", Step("return_to_rotation", "node1"), NODE1_NEW_OUT),
    rolled_back("with the new node in rotation", Step("take_out", "node2"), NODE1_DONE),
    rolled_back("with the second node stopped", Step("switch_release", "node2"), NODE2_STOPPED),
    rolled_back("with the last node left", Step("take_out", "node3"), State("28 28 26", heads=EXPANDED)),
    rolled_back("right before contract", Step("approve_contract"), State("28 28 28", heads=EXPANDED)),
]

DRILLS = [*BALANCERS, *NODES_AND_SSH, *DRAINS, *RELEASES, *AIRFLOW, *BY_HAND, *ROLLBACKS]
