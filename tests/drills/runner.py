"""Reads a row: brings about what is given, lets the fault strike, and sees that what must follow does."""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from include.demo import airflow_faults, lab
from include.demo.airflow_runner import RunningAirflow
from include.lab.load.lines import Operation, read_operations
from include.lab.waiting import until
from tests.drills import world
from tests.drills.allowed import Cut, Judged, judge
from tests.drills.drill import (
    CONTRACTED,
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
from tests.drills.run import AT_WORK, DrillError, Run
from tests.drills.watch import Watch
from tests.e2e.rehearsal import DAG_ID, on_node

STATE_SECONDS = 30.0
"""How long the fleet may take to come to the state that a row names: health checks, ending processes."""
PASSED_OVER_SECONDS = 20.0
LOAD = ("load", "start", "--clients", "4", "--slow", "2", "--slow-seconds", "4", "7", "--slow-mebibytes", "32")
LEAST_REQUESTS = 100
ROLLBACK_ID = DAG_ID.replace("rolling_upgrade", "rollback")
END = State("28 28 28", heads=CONTRACTED)
CUTS_BALANCER = ("balancer-restart", "wrong-server-name")
CUTS_NODE = ("node-power-off",)
ANSWERS_5XX = "error-responses"


@dataclass
class Outcome:
    """What a row came to, for the table."""

    drill: Drill
    happened: list[str] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    allowed: int = 0
    seconds: float = 0.0
    passed: bool = False


class Rehearsal:
    """One row at work on a fresh fleet."""

    def __init__(self, drill: Drill, airflow: RunningAirflow, outcome: Outcome) -> None:
        self.drill = drill
        self.airflow = airflow
        self.outcome = outcome
        self.cuts: list[Cut] = []
        self.done: dict[str, world.Unit | None] = {}
        self.lifted: list[dict[str, Any]] = []
        self._errors_since = datetime.now(UTC)

    # -- Given, When, Then

    def given(self) -> None:
        """What is there before the run: the fleet file, other faults, and the fault itself where it strikes first."""
        if self.drill.fleet:
            path = lab.state() / "fleets" / "lab.yaml"
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | dict(self.drill.fleet)))
        for fault in self.drill.given:
            self._inject(fault)
        if self.drill.when is Moment.BEFORE_THE_RUN and isinstance(self.drill.fault, Fault):
            self._inject(self.drill.fault)

    def when(self) -> Run:
        """The run, and in it the fault at its moment."""
        run, at = Run(self.airflow, dict(self.drill.conf)), self.drill.at
        match self.drill.when:
            case Moment.BEFORE_THE_RUN:
                return run
            case Moment.ABOUT_TO_BEGIN:
                with run.held_before(at):
                    self._strike(run)
                return run
            case Moment.STOPPING:
                run.await_state(at, *AT_WORK)
                until(lambda: not world.listens(str(at.node)), f"{at.node} to close its port", seconds=60)
            case Moment.PHASE_RUNS:
                run.await_state(at, *AT_WORK)
                phase = f"glance-db-{at.task.removesuffix('_complete')}-{NEW}.service"
                until(lambda: world.is_active(NODES[0], phase), f"{phase} to run", seconds=60)
            case Moment.AT_WORK:
                run.await_state(at, *AT_WORK)
        self._strike(run)
        return run

    def then(self, run: Run) -> None:
        """What must follow, to the completed upgrade."""
        self.done = self._units_done(run)
        then = self.drill.then
        run = self._asked(run, then) if isinstance(then, Asks) else self._follow(run, then)
        if not self.lifted:
            if self.drill.transfer == "cut":
                # Lifted earlier, it would end well in the moment between the choice and the stop that cuts it.
                run.await_state(Step("stop", self.drill.at.node), "success")
            self._lift()
        run.await_end()
        self._completed(run)

    def _follow(self, run: Run, then: GoesOn | Waits | Fails | NewRun | RollsBack) -> Run:
        match then:
            case GoesOn():
                self._goes_on(run, then)
            case Waits():
                run.await_log(self.drill.at, then.says)
                self._await_world(then.state)
                run.await_state(self.drill.at, *AT_WORK, seconds=20)
                self._say("waited")
                self._lift()
                if then.then is None:
                    self._say("lifted, it went on by itself")
                else:
                    self._fails(run, then.then)
            case Fails():
                self._fails(run, then)
            case NewRun():
                self._await_world(then.state)
                self._lift()
                run = Run(self.airflow, dict(self.drill.conf))
                self._say("a new run completed the upgrade")
            case RollsBack():
                self._await_world(then.state)
                self._lift()
                run = Run(self.airflow, {"drain_timeout_seconds": 60, "soak_seconds": 1}, ROLLBACK_ID)
                self._say("a rollback brought the release before back")
        return run

    def _goes_on(self, run: Run, then: GoesOn) -> None:
        step = self.drill.at
        if self.drill.given:  # it holds the step until the fault has had its effect
            run.await_log(step, then.says)
            self._lift()
        tries = int(run.await_state(step, "success")["try_number"])
        if then.again and tries < 2:
            raise DrillError(f"{step} ended well in try {tries}, expected it to be tried again")
        run.await_log(step, then.says, tries=tries)
        self._say(f"went on by itself, {step} ended in try {tries}" if then.again else "went on by itself")

    def _fails(self, run: Run, then: Fails) -> None:
        steps = then.at or (self.drill.at,)
        run.await_failed(steps)
        said = ""
        for step in steps:
            if (tries := int(run.instance(step)["try_number"])) != 1:
                raise DrillError(f"{step} failed in try {tries}: a failure is for a person, and not to be tried again")
            said = run.await_log(step, (*then.says, "Safe now: ", "Next: ")) if then.says else ""
        found = re.search(r"Found: (.*)", said)
        self._say(f"failed: {found[1][:110]}" if found else "failed")
        self._await_world(then.state)
        self._refuse_next(run)
        if run.state() == "success":
            raise DrillError("the run has ended well all the same")
        self._lift()
        if then.lifted is not None:
            self._await_world(then.lifted)
        run.clear(then.clear)
        self._say("lifted; cleared " + ", ".join(map(str, then.clear)))

    def _asked(self, run: Run, then: Asks) -> Run:
        step = self.drill.at
        run.await_state(step, *AT_WORK)
        run.question(step)
        run.await_log(step, then.says)
        self._await_world(then.state)
        if then.answer is None:
            self._say("a person was asked; nobody answered")
            self._lift()
            return self._follow(run, then.then)
        run.answer(step, then.answer)
        self._say(f"a person was asked, and answered {then.answer!r}")
        run = self._follow(run, then.then)
        until(lambda: bool(run.xcom(step, "answers")), "the record of the answer", seconds=60)
        (answer,) = run.xcom(step, "answers")
        assert (answer["answer"], answer["by"]) == (then.answer, self.airflow.user)
        assert answer["at"]
        return run

    # -- what is done to the world

    def _strike(self, run: Run) -> None:
        fault, (task, index) = self.drill.fault, self.drill.at.key
        match fault:
            case Fault():
                self._inject(fault)
            case Kill.TASK | Kill.WORKER:
                airflow_faults.kill_task_process(self.airflow, DAG_ID, run.id, task, index, worker=fault is Kill.WORKER)
            case Kill.SCHEDULER | Kill.TRIGGERER:
                airflow_faults.kill_component(self.airflow, fault.name.lower())
            case Kill.AIRFLOW:
                airflow_faults.restart(self.airflow, [DAG_ID])
            case Hand.TASK_FAILED:
                run.mark_failed(self.drill.at)
            case Hand.RUN_FAILED:
                self.airflow.api.set_run_state(DAG_ID, run.id, "failed")

    def _inject(self, fault: Fault) -> None:
        since = datetime.now(UTC)
        lab.run("fault", "inject", fault.name, *fault.options())
        self._note_cut(fault, since)

    def _lift(self) -> None:
        """Lift every fault of the row."""
        since = datetime.now(UTC)
        command = [str(lab.COMMAND), "fault", "lift", "--json"]
        lifted = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        for one in lifted:
            self._note_cut(Fault(one["fault"], node=one["node"], balancer=one["balancer"]), since, lifted=True)
            if one["fault"] == "slow-transfer" and f": {self.drill.transfer}, " not in one["detail"]:
                raise DrillError(f"the transfer: {one['detail']}; expected {self.drill.transfer}")
        self.lifted += lifted

    def _note_cut(self, fault: Fault, since: datetime, *, lifted: bool = False) -> None:
        """What injecting or lifting the fault may have cut, between ``since`` and now."""
        until_now = datetime.now(UTC)
        if fault.name in CUTS_BALANCER:
            self.cuts.append(Cut(since, until_now, balancer=fault.balancer))
        elif fault.name in CUTS_NODE and not lifted:
            self.cuts.append(Cut(since, until_now, node=fault.node))
        elif fault.name == ANSWERS_5XX and not lifted:
            self._errors_since = since
        elif fault.name == ANSWERS_5XX:
            self.cuts.append(Cut(self._errors_since, until_now, node=fault.node, answers_5xx=True))

    # -- what is looked at

    def _units_done(self, run: Run) -> dict[str, world.Unit | None]:
        """The units of nodes that have finished all their steps: nothing of them may be done again."""
        steps = run.steps()
        done = [node for node in NODES if steps.get(Step("soak", node).key, {}).get("state") == "success"]
        return world.units(tuple(done)) if done else {}

    def _await_world(self, expected: State) -> None:
        wrong: list[str] = []

        def as_expected() -> bool:
            wrong[:] = world.differences(expected)
            return not wrong

        try:
            until(as_expected, "the fleet", seconds=STATE_SECONDS, every=0.3)
        except Exception as error:
            raise DrillError("the fleet is not as it must be: " + "; ".join(wrong)) from error

    def _refuse_next(self, run: Run) -> None:
        """No node after the one that was struck has begun."""
        if self.drill.at.node is None:
            return
        steps = run.steps()
        for node in NODES[NODES.index(self.drill.at.node) + 1 :]:
            state = steps.get(Step("take_out", node).key, {}).get("state")
            if state not in (None, "scheduled", "upstream_failed"):
                raise DrillError(f"{node} has begun: its take_out is {state}")

    def _completed(self, run: Run) -> None:
        report = self.airflow.api.xcom(run.dag, run.id, "report")
        if isinstance(self.drill.then, RollsBack):
            assert {node["release_proven"] for node in report["nodes"]} == {OLD}
            self._await_world(State("26 26 26", heads=self.drill.then.state.heads))
            return
        assert {node["release_proven"] for node in report["nodes"]} == {NEW}
        assert report["db_check"] == 0
        self._await_world(END)
        again = [node for node, unit in world.units(tuple(self.done)).items() if unit != self.done[node]]
        assert not again, f"done again though it was done: {again}"
        self._in_turn(run)

    def _in_turn(self, run: Run) -> None:
        """Each node began after the one before had finished, and one that was done before was passed over at once."""
        order = self.airflow.api.xcom(run.dag, run.id, "plan")
        finished = None
        for node in order:
            place = NODES[order.index(node)]  # a step is known by its place in the run
            began, ended = run.began(Step("take_out", place)), run.ended(Step("soak", place))
            assert finished is None or began >= finished, f"{node} began before the one before it had finished"
            finished = ended
            if isinstance(self.drill.then, NewRun) and node in self.done:
                took = (ended - began).total_seconds()
                assert took < PASSED_OVER_SECONDS, f"{node} was done, and passing it over took {took:.0f} s"

    def _say(self, what: str) -> None:
        self.outcome.happened.append(what)


def perform(drill: Drill, airflow: RunningAirflow, outcome: Outcome) -> None:
    """One row from a fresh fleet to a completed upgrade. Raises when anything is not as the row says."""
    began = time.monotonic()
    rehearsal = Rehearsal(drill, airflow, outcome)
    try:
        rehearsal.given()
        lab.run(*LOAD)
        try:
            with Watch() as watch:
                run = rehearsal.when()
                rehearsal.then(run)
        finally:
            load = lab.read_json("load", "stop", "--json")
            judged = _count(rehearsal, load)
        _see_the_load(rehearsal, load, judged)
        together = watch.taken_out_together()
        assert max(map(len, together)) <= 1, f"out at one time: {[sorted(one) for one in together if len(one) > 1]}"
        seen = frozenset().union(*together)
        assert seen >= (set(NODES) if not isinstance(drill.then, RollsBack) else {NODES[0]}), "the samples say nothing"
    finally:
        outcome.seconds = time.monotonic() - began


def _count(rehearsal: Rehearsal, load: dict[str, Any]) -> Judged:
    lines = read_operations(lab.state() / "load" / "operations.jsonl")
    judged = judge(lines, load["images_left_wrong"], rehearsal.cuts)
    outcome = rehearsal.outcome
    outcome.requests, outcome.failed, outcome.allowed = len(lines), load["failed_requests"], len(judged.allowed)
    return judged


def _said_by_the_service(line: Operation) -> str:
    """What the service logged on the node while that request was open."""
    if line.server not in NODES:
        return f"{line.server} is no node"
    began = datetime.fromisoformat(line.at).timestamp()
    since, to = (
        f"--{word}=@{moment:.0f}" for word, moment in (("since", began - 1), ("until", began + line.seconds + 2))
    )
    try:
        return on_node(line.server, "journalctl", "-u", "glance-api", "-o", "cat", "--no-pager", since, to)[-6000:]
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return f"{line.server}: {error}"


def _see_the_load(rehearsal: Rehearsal, load: dict[str, Any], judged: Judged) -> None:
    # A load that was killed or broke saw no failure, because it saw nothing.
    assert (load["ended_by_itself"], load["fault_of_the_load"], load["audit"]["complete"]) == (True, None, True)
    assert load["requests"] > LEAST_REQUESTS
    assert not judged.attributable, (
        f"failed requests that no fault explains: {judged.attributable}; {rehearsal.cuts}\n"
        + "\n".join(_said_by_the_service(line) for line in judged.attributable)
    )
    assert not judged.images_attributable, f"images left wrong: {judged.images_attributable}"
