"""The simulation can fail: each rule, once broken, lets something happen that must never happen.

Most rules stand twice in the workflow. One that is masked by another is broken together with that other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st

from rolling_upgrade.decisions import drain, phases, planning, proof, rotation, schema_checks, turns
from rolling_upgrade.decisions.rotation import ServerView
from rolling_upgrade.evidence.record import record
from rolling_upgrade.hooks import fleet_proof, log_bin_trust, phase
from rolling_upgrade.hooks.unit import ServiceUnit
from rolling_upgrade.operators import closing, plan, service, way_back
from rolling_upgrade.operators import rotation as rotation_operators
from rolling_upgrade.triggers import drained, healthy
from tests.unit.rolling_upgrade.simulation.beneath import Beneath, replace_everywhere, simulated
from tests.unit.rolling_upgrade.simulation.invariants import BrokenError
from tests.unit.rolling_upgrade.simulation.scenario import Scenario, play, rest_of
from tests.unit.rolling_upgrade.simulation.strategies import scenarios, search

why_not_take_out, next_action, unfinished_before = (
    rotation.why_not_take_out,
    drain.next_action,
    turns.unfinished_before,
)


@pytest.fixture
def beneath() -> Iterator[Beneath]:
    with simulated() as under:
        yield under


def without_other_out(server: str, balancers: Sequence[str], views: Sequence[ServerView], least: int | None) -> Any:
    return [r for r in why_not_take_out(server, balancers, views, least) if "already out" not in r]


def without_capacity(server: str, balancers: Sequence[str], views: Sequence[ServerView], least: int | None) -> Any:
    return [r for r in why_not_take_out(server, balancers, views, least) if "must stay" not in r]


def of_one_balancer(server: str, balancers: Sequence[str], views: Sequence[ServerView], least: int | None) -> Any:
    one = balancers[:1]
    return why_not_take_out(server, one, [v for v in views if v.balancer in one], least)


def drained_at_once(views: Sequence[ServerView]) -> Any:
    return drain.DrainProgress(drain.DrainAction.COUNT_SOCKETS, 0)


def always_quiet(established: Sequence[int]) -> bool:
    return True


def of_first_balancer(views: Sequence[ServerView]) -> Any:
    return next_action(views[:1])


def lost_is_kept(views: Sequence[ServerView]) -> Any:
    progress = next_action(views)
    lost = progress.action is drain.DrainAction.DRAIN_AGAIN
    return drain.DrainProgress(drain.DrainAction.COUNT_SOCKETS, 0) if lost else progress


def stop_at_once(operator: Any, step: Any, context: Any) -> Any:
    unit = ServiceUnit(step.ssh, step.profile)
    unit.hold()
    unit.begin_stop()
    operator._see_it_end(step, unit)
    return record("stopped", changed=True)


def stop_what_runs(operator: Any, step: Any, context: Any) -> Any:
    return (
        record("not looked", changed=False)
        if proof.why_not_stopped(step.ssh.observe(step.profile)) == []
        else (stop_at_once(operator, step, context))
    )


def as_asked(request: Any, observed: Any, old: Any) -> Any:
    return request.nodes


def failed_is_finished(index: int, last: Mapping[str, str | None], step: str, first: str) -> Any:
    return unfinished_before(index, last, step, first, finished={"success", "failed", "upstream_failed"})


def missing_is_finished(index: int, last: Mapping[str, str | None], step: str, first: str) -> Any:
    return [i for i in range(index) if last.get(f"{step}_{i}") not in ("success", None)]


def open_on_the_way_back(index: int, last: Mapping[str, str | None], step: str, first: str | None) -> Any:
    return unfinished_before(index, last, step, first) if first else []


def nothing_against(*_: Any, **__: Any) -> list[str]:
    return []


def always_start(unit: Any, *, phase_done: bool) -> Any:
    return phases.UnitAction.START_OVER if unit.exists else phases.UnitAction.START


def passes(*_: Any, **__: Any) -> None:
    return None


def nothing_done(*_: Any) -> str:
    return ""


@dataclass(frozen=True)
class Mutation:
    """What is broken, and under which incidents that matters."""

    broken: Sequence[tuple[Any, Any]]
    """What is replaced, by what: a function, wherever it is imported, or (module or class, name) in one place."""
    kinds: Iterable[str]
    nodes: int = 3
    after: tuple[int, int] | None = None
    """The steps among which they strike, where chance would seldom find them."""
    begins: str = ""
    """The task whose beginning they follow, for the same reason."""
    goes_back: bool = False
    """It is rolled back in the end, whatever has happened."""


MUTATIONS = {
    "another node out is no obstacle": Mutation(
        [(why_not_take_out, without_other_out), (planning.order_of_turns, as_asked)], ["new_run"], nodes=4
    ),
    "capacity is not asked": Mutation([(why_not_take_out, without_capacity)], ["path_cut"]),
    "one balancer decides who may leave": Mutation([(why_not_take_out, of_one_balancer)], ["path_cut"]),
    "stop does not look, and a drain is over at once": Mutation(
        [
            (drain.next_action, drained_at_once),
            (drain.is_quiet, always_quiet),
            ((service.StopOperator, "step"), stop_at_once),
        ],
        [],
    ),
    "stop does not look, sockets do not count, and one balancer decides that a node is drained": Mutation(
        [
            (drain.next_action, of_first_balancer),
            (drain.is_quiet, always_quiet),
            ((service.StopOperator, "step"), stop_what_runs),
        ],
        ["slow_transfer"],
        after=(0, 60),
        begins="new_node_out.take_out",
    ),
    "stop does not look, sockets do not count, and a lost drain is not noticed": Mutation(
        [
            (drain.next_action, lost_is_kept),
            (drain.is_quiet, always_quiet),
            ((service.StopOperator, "step"), stop_what_runs),
        ],
        ["balancer_restart"],
        after=(0, 60),
        begins="new_node_out.take_out",
    ),
    "stop does not look whether the node is new": Mutation(
        [((service.StopOperator, "step"), stop_what_runs)], ["clear_any"]
    ),
    "a failed node has finished": Mutation(
        [(turns.unfinished_before, failed_is_finished)],
        ["crash_loop"],
        after=(0, 100),
        begins="migrate",
    ),
    "a node that has not begun has finished": Mutation([(turns.unfinished_before, missing_is_finished)], []),
    "a node is returned unproven": Mutation(
        [((rotation_operators, "why_not_proven"), nothing_against), ((healthy, "why_not_proven"), nothing_against)],
        ["orphan"],
    ),
    "a phase that has run is started again": Mutation([(phases.unit_action, always_start)], ["clear_any"]),
    "phases may run side by side": Mutation(
        [
            (phase.refuse_running_phase, passes),
            (why_not_take_out, without_other_out),
            (planning.order_of_turns, as_asked),
        ],
        ["new_run"],
        nodes=4,
    ),
    "contract asks for no proof": Mutation(
        [(fleet_proof.why_old_services_may_remain, nothing_against)],
        ["orphan"],
        after=(0, 60),
        begins="no_old_services",
    ),
    "expand and contract do not look for long transactions": Mutation(
        [(schema_checks.why_not_transactions, nothing_against)], ["long_transaction"]
    ),
    "nobody lets the server trust creators of triggers": Mutation([(log_bin_trust.allow, nothing_done)], []),
    "trust is taken from a phase that runs": Mutation(
        [((log_bin_trust, "refuse_running_phase"), passes)], ["new_run"], nodes=2, after=(200, 300)
    ),
    "neither phases nor verify put trust back": Mutation(
        [(log_bin_trust.put_back_after_phase, passes), ((closing, "put_back_when_idle"), nothing_done)], []
    ),
    "a start does not wait for migrate": Mutation(
        [(service._refuse_too_early, passes)], ["mark_failed", "mark_success"], after=(0, 60), begins="expand"
    ),
    "neither the plan of a rollback nor its steps ask whether contract has begun": Mutation(
        [((plan, "contract_began"), passes), ((way_back, "contract_began"), passes)],
        ["power_off"],
        after=(10, 40),
        begins="contract",
        goes_back=True,
    ),
    "take_out on the way back does not ask": Mutation(
        [((rotation_operators, "refuse_contracted"), passes)],
        ["roll_back"],
        nodes=2,
        after=(0, 100),
        begins="new_node_in.start",
    ),
    "a drain that is lost on the way back is set again unasked": Mutation(
        [((drained, "refuse_contracted"), passes)],
        ["roll_back"],
        nodes=2,
        after=(0, 100),
        begins="new_node_in.start",
    ),
    "a start on the way back does not ask for the schema": Mutation(
        [((service, "refuse_contracted"), passes)],
        ["roll_back"],
        nodes=2,
        after=(0, 100),
        begins="new_node_in.start",
    ),
    "a turn on the way back opens early": Mutation(
        [(turns.unfinished_before, open_on_the_way_back)], ["roll_back"], begins="new_node_in.start", goes_back=True
    ),
}


def goes_wrong(beneath: Beneath, scenario: Scenario) -> bool:
    try:
        rest_of(play(beneath, scenario))
    except BrokenError:
        return True
    except AssertionError:
        return False
    return False


def strategy_of(mutation: Mutation) -> st.SearchStrategy[Scenario]:
    return scenarios(
        st.integers(2, mutation.nodes),
        kinds=sorted(mutation.kinds),
        after=mutation.after,
        begins=(mutation.begins,),
        goes_back=(mutation.goes_back,),
    )


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_seen(beneath: Beneath, name: str) -> None:
    mutation = MUTATIONS[name]
    # Undone before what is simulated is undone, which may have replaced the same name.
    with pytest.MonkeyPatch.context() as patch:
        for real, instead in mutation.broken:
            if isinstance(real, tuple):
                place, attribute = real
                patch.setattr(place, attribute, instead)
            else:
                replace_everywhere(patch, real, instead)
        search(strategy_of(mutation), lambda scenario: goes_wrong(beneath, scenario))
