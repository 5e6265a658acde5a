"""How a wait ends: each outcome of a look at the world becomes one event, and none an error of the trigger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from rolling_upgrade.errors import UnreachableError, VerifyError
from rolling_upgrade.evidence.record import Record, record
from rolling_upgrade.services.profile import ServiceProfile
from rolling_upgrade.triggers import waiting
from rolling_upgrade.triggers.turn import TurnTrigger
from rolling_upgrade.triggers.waiting import Skip, Wait, WaitTrigger
from tests.integration.parts.fleets import NAME, plan, write_fleet
from tests.integration.parts.tasks import Task, events_of, failure_of, states

pytestmark = pytest.mark.integration

SILENT = UnreachableError("lb1 is silent.", expected="", safe="", next_step="")
Outcome = Record | Skip | Exception | None


class ScriptedTrigger(WaitTrigger):
    """Sees what the test tells it, in turns; the last one for ever."""

    poll_seconds = 0.01

    def __init__(self, *outcomes: Outcome, settled: str = "") -> None:
        super().__init__(fleet=NAME, nodes_from="plan")
        self.outcomes = list(outcomes)
        self.polls = 0
        self.settled: list[str] = []
        self._does = settled

    def poll(self, wait: Wait) -> Record | Skip | None:
        self.polls += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def settle(self, wait: Wait, error: Exception) -> str:
        self.settled.append(wait.node.name)
        return self._does


class ImpatientTrigger(ScriptedTrigger):
    """Gives up by itself before the silence has lasted long."""

    def gives_up(self, wait: Wait) -> bool:
        return self.polls > 2


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_service: ServiceProfile) -> Task:
    """The task of the second node, which Airflow holds deferred."""
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path / "fleets"))
    states(monkeypatch, {"wait_1": "deferred"})
    return Task(plan(write_fleet(tmp_path / "fleets")), map_index=1)


def test_a_record_ends_the_wait_well_and_goes_on_with_the_nodes_name(task: Task) -> None:
    trigger = ScriptedTrigger(None, None, record("is well", changed=True, seconds=3))

    (event,) = events_of(trigger, task)

    assert isinstance(event, TaskSuccessEvent)
    result = event.xcoms["return_value"]
    assert (result["node"], result["did"], result["changed"], result["seconds"]) == ("node2", "is well", True, 3)
    assert (trigger.polls, trigger.settled) == (3, [])


def test_a_wait_that_does_not_apply_skips_its_task(task: Task) -> None:
    trigger = ScriptedTrigger(Skip("not in this run"))

    (event,) = events_of(trigger, task)

    assert isinstance(event, TaskSkippedEvent)
    assert trigger.settled == []


def test_a_readable_error_fails_the_task_with_its_four_lines(task: Task) -> None:
    error = VerifyError("it is ill.", expected="health.", safe="nothing was cut.", next_step="mend it.")

    said = failure_of(events_of(ScriptedTrigger(error, settled="node2 was put back"), task))

    assert said == f"{error}\nnode2 was put back"
    assert "Next: mend it." in said


@pytest.mark.parametrize("error", [KeyError("scur"), RuntimeError()], ids=["with words", "without"])
def test_an_error_that_nobody_foresaw_fails_the_task_and_is_not_raised(task: Task, error: Exception) -> None:
    trigger = ScriptedTrigger(None, error, settled="node2 was put back")

    said = failure_of(events_of(trigger, task))

    assert said == f"{str(error) or 'RuntimeError'}\nnode2 was put back"


def test_a_plan_that_cannot_be_read_fails_the_task_and_settles_nothing(task: Task) -> None:
    task.plan = None
    trigger = ScriptedTrigger(None)

    assert failure_of(events_of(trigger, task))
    assert (trigger.polls, trigger.settled) == (0, [])


class Clock:
    """The time as waits see it: each look at the world takes 50 seconds."""

    def __init__(self, trigger: ScriptedTrigger) -> None:
        self._trigger = trigger

    def monotonic(self) -> float:
        return 1000.0 + 50 * self._trigger.polls

    time = monotonic


def test_a_short_silence_is_waited_out(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each is shorter than SILENCE_SECONDS, all of them together are not: an answer between begins the count anew.
    silence = [SILENT] * 5
    trigger = ScriptedTrigger(*silence, None, *silence, None, *silence, record("is well", changed=False))
    monkeypatch.setattr(waiting, "time", Clock(trigger))

    (event,) = events_of(trigger, task)

    assert isinstance(event, TaskSuccessEvent)


def test_a_long_silence_ends_the_wait_and_says_who_is_silent(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = ScriptedTrigger(SILENT)
    monkeypatch.setattr(waiting, "time", Clock(trigger))

    assert "Found: lb1 is silent." in failure_of(events_of(trigger, task))

    assert waiting.SILENCE_SECONDS == 300
    assert trigger.polls == 8, "the first silent look, and then more than 300 s of them"
    assert trigger.settled == ["node2"]


def test_a_silence_ends_by_the_real_clock_too(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SILENCE_SECONDS", 0.1)
    began = time.monotonic()

    assert "lb1 is silent" in failure_of(events_of(ScriptedTrigger(SILENT), task))
    assert time.monotonic() - began >= 0.1


def test_a_wait_with_a_time_of_its_own_need_not_wait_for_the_silence_to_last(task: Task) -> None:
    trigger = ImpatientTrigger(SILENT)

    assert "lb1 is silent" in failure_of(events_of(trigger, task))
    assert trigger.polls == 3


@pytest.mark.parametrize("state", ["deferred"])
@pytest.mark.parametrize(("map_index", "key"), [(1, "wait_1"), (-1, "wait")])
def test_a_task_that_is_still_this_ones_is_settled(
    task: Task, monkeypatch: pytest.MonkeyPatch, state: str, map_index: int, key: str
) -> None:
    asked = states(monkeypatch, {key: state}).asked
    task.map_index = map_index
    trigger = ScriptedTrigger(VerifyError("ill.", expected="", safe="", next_step=""), settled="put back")

    assert failure_of(events_of(trigger, task)).endswith("\nput back")
    assert asked == [["wait"]]


@pytest.mark.parametrize("answer", [{"wait_1": state} for state in ("failed", "success", None)] + [{}])
def test_a_task_that_somebody_took_over_is_not_settled(
    task: Task, monkeypatch: pytest.MonkeyPatch, answer: dict[str, str | None]
) -> None:
    """Its neighbours being deferred changes nothing."""
    states(monkeypatch, {"wait_0": "deferred", "wait_11": "deferred", **answer})
    trigger = ScriptedTrigger(VerifyError("ill.", expected="", safe="", next_step=""), settled="put back")

    assert "put back" not in failure_of(events_of(trigger, task))
    assert trigger.settled == []


def test_a_task_whose_state_cannot_be_asked_fails_with_what_was_found(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(**asked: object) -> None:
        raise RuntimeError("no answer")

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", unanswered)
    trigger = ScriptedTrigger(VerifyError("it is ill.", expected="", safe="", next_step=""))

    assert "Found: it is ill." in failure_of(events_of(trigger, task))


async def _first_event(trigger: WaitTrigger) -> TriggerEvent:
    return await anext(trigger.run())


@pytest.mark.parametrize(
    ("state", "settled"), [("failed", ["node2"]), ("deferred", []), ("running", []), (None, []), ("success", [])]
)
def test_a_wait_that_somebody_ends_is_settled_only_where_its_task_was_marked_as_failed(
    task: Task, monkeypatch: pytest.MonkeyPatch, state: str | None, settled: list[str]
) -> None:
    trigger = ScriptedTrigger(None)
    trigger.task_instance = task

    async def run() -> None:
        waiting = asyncio.ensure_future(_first_event(trigger))
        while not trigger.polls:
            await asyncio.sleep(0.01)
        states(monkeypatch, {"wait_1": state})
        waiting.cancel()
        await trigger.on_kill()

    asyncio.run(asyncio.wait_for(run(), 10))
    assert trigger.settled == settled


def test_a_turn_comes_when_every_node_before_has_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TurnTrigger, "poll_seconds", 0.01)
    answers: list[dict[str, str | None]] = [
        {},
        {"new_soak": "success", "soak_0": "running"},
        {"soak_0": "success"},
        {"soak_0": "success", "soak_1": "failed"},
        {"soak_0": "success", "soak_1": "skipped"},
        {"soak_0": None, "soak_1": "success"},
        {"soak_1": "success", "soak_2": "success"},
        {"soak_0": "success", "soak_1": "success", "soak_2": "failed"},
    ]
    answers[2:] = [{"new_soak": "success", **answer} for answer in answers[2:]]
    answers.insert(-1, {**answers[-1], "new_soak": "deferred"})
    asked = states(monkeypatch, *answers).asked

    (event,) = events_of(TurnTrigger("soak", "new_soak"), Task(map_index=2, task_id="turn"))

    assert isinstance(event, TaskSuccessEvent)
    assert asked == [["new_soak", "soak"]] * 9, "no turn came before the last answer"


@pytest.mark.parametrize("make", [lambda: TurnTrigger("soak", "new_soak"), lambda: WaitTrigger(NAME, "plan")])
def test_a_trigger_is_made_again_from_what_it_serialized(make: Callable[[], TurnTrigger | WaitTrigger]) -> None:
    trigger = make()
    path, kwargs = trigger.serialize()

    assert path == f"{type(trigger).__module__}.{type(trigger).__name__}"
    assert type(trigger)(**kwargs).serialize() == (path, kwargs)
