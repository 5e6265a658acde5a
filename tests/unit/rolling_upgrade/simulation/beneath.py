"""Put a simulation beneath the real package: its time, its nodes, balancers and database, its answers of Airflow.

Names are replaced by what they stand for, in every module that has imported them, so a step that is added or moved
is simulated as well.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.execution_time import hitl
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger
from asgiref.sync import sync_to_async

from rolling_upgrade.decisions.claims import Holder
from rolling_upgrade.evidence import record as record_module
from rolling_upgrade.evidence.record import record
from rolling_upgrade.fleet import catalogue, inventory
from rolling_upgrade.hooks import answers, claims, contract_mark, database, database_facts, dump_lock, log_bin_trust
from rolling_upgrade.hooks.balancer import BalancerHook
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.operators import backup, database_phase, preflight, stage_release
from rolling_upgrade.services import image_probe
from tests.unit.rolling_upgrade.simulation.actors import KilledError, current, hand_over
from tests.unit.rolling_upgrade.simulation.hooks import (
    SimulatedBalancer,
    SimulatedClaims,
    SimulatedDatabase,
    SimulatedNode,
    SimulatedTrust,
    read_mark,
    set_mark,
    simulated_lock,
    unreachable,
)
from tests.unit.rolling_upgrade.simulation.hooks import database_facts as simulated_facts
from tests.unit.rolling_upgrade.simulation.hooks import login_facts as simulated_login_facts
from tests.unit.rolling_upgrade.simulation.simulation import EPOCH, Simulation

REAL_CATALOGUE = catalogue.load()
_PACKAGES = tuple(
    f"rolling_upgrade.{name}" for name in ("decisions", "evidence", "operators", "sensors", "triggers", "hooks")
)


class Beneath:
    """The simulation that the package works on now."""

    simulation: Simulation

    @property
    def world(self) -> Any:
        return self.simulation.world


@contextmanager
def simulated() -> Iterator[Beneath]:
    """As long as the block lasts, the package works on ``.simulation`` of what this gives."""
    under = Beneath()
    with pytest.MonkeyPatch.context() as patch:
        _replace_names(patch, under)
        _replace_parts(patch, under)
        _be_quiet(patch)
        yield under


def _modules() -> list[ModuleType]:
    for package in _PACKAGES:
        for found in iter_modules(import_module(package).__path__, f"{package}."):
            import_module(found.name)
    return [module for name, module in sys.modules.items() if name.startswith(_PACKAGES)]


def replace_everywhere(
    patch: pytest.MonkeyPatch, real: object, stand_in: object, *, but: ModuleType | None = None
) -> None:
    """Let every module of the package that has the one under some name have the other."""
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is real and module is not but:
                patch.setattr(module, name, stand_in)


def _replace_names(patch: pytest.MonkeyPatch, under: Beneath) -> None:
    async def nap(seconds: float) -> None:
        under.simulation.sleep(seconds)

    def now() -> float:
        return float(under.world.clock)

    clock = SimpleNamespace(
        monotonic=now, time=lambda: EPOCH + now(), sleep=lambda seconds: under.simulation.sleep(seconds)
    )
    instead: list[tuple[object, object]] = [
        (time, clock),
        (asyncio, SimpleNamespace(sleep=nap)),
        (sync_to_async, _on_a_thread),
        (record_module.now, lambda: datetime.fromtimestamp(EPOCH + now(), UTC).isoformat()),
        (stage_release.expected_sum, lambda step: ""),
        (image_probe.try_image, lambda *_: image_probe.Trial(tried=True)),
        (inventory.load_named, lambda name: under.simulation.fleet),
        (catalogue.load, lambda: REAL_CATALOGUE),
        (database.DatabaseHook, lambda asked: SimulatedDatabase(under.world)),
        (database_facts.read_facts, lambda fleet, profile: simulated_facts(under.world)),
        (database_facts.read_login_facts, lambda asked: simulated_login_facts(under.world)),
        (database.service_login, lambda asked: SimpleNamespace(login="glance")),
        (dump_lock.dump_lock, lambda asked: simulated_lock(under.world)),
        (contract_mark.mark_contract, lambda asked, release: set_mark(under.world, release)),
        (contract_mark.forget_contract, lambda asked: set_mark(under.world, None)),
        (contract_mark.contract_began, lambda asked: read_mark(under.world)),
        (dump_lock.no_dump_runs, lambda asked: simulated_lock(under.world)),
    ]
    for real, stand_in in instead:
        replace_everywhere(patch, real, stand_in, but=database)


def _replace_parts(patch: pytest.MonkeyPatch, under: Beneath) -> None:
    def states(*, dag_id: str, run_ids: Sequence[str], task_ids: Sequence[str]) -> Any:
        return under.simulation.states(dag_id, run_ids, task_ids)

    def count(dag_id: str, *, run_ids: Sequence[str], states: Sequence[str]) -> int:
        hand_over()
        runs = [run for run in under.simulation.runs if run.graph.dag_id == dag_id and run.run_id in run_ids]
        return sum(run.state in states for run in runs)

    def answer(node: Any, port: int, probe: Any) -> str | None:
        hand_over()
        return None if under.world.machines[node.name].answers else f"{probe.path} gives no answer"

    def dump(fleet: Any, me: Holder, lock: Any) -> Any:
        return record("dumped", changed=True, begun=_dump(under, me.run_id))

    def found(fleet: Any, me: Holder) -> Any:
        begun = under.world.database.backups.get(me.run_id)
        return record("is there", changed=False, begun=begun) if begun else None

    patch.setattr(NodeHook, "from_connection", lambda node: SimulatedNode(under.world, node))
    patch.setattr(BalancerHook, "from_connection", lambda asked: SimulatedBalancer(under.world, asked))
    patch.setattr(RuntimeTaskInstance, "get_task_states", states)
    patch.setattr(RuntimeTaskInstance, "get_dr_count", count)
    patch.setattr(claims, "Claims", lambda asked: SimulatedClaims(under.world))
    patch.setattr(log_bin_trust, "Trust", lambda asked: SimulatedTrust(under.world, asked))
    patch.setattr(hitl, "upsert_hitl_detail", lambda **_: None)
    replace_everywhere(patch, answers.why_wrong, answer)
    patch.setattr(backup, "_found", found)
    patch.setattr(backup, "_apply", dump)
    patch.setattr(preflight, "_about_archive", lambda step: [])
    patch.setattr(stage_release, "_ship", lambda step, _: under.world.stage(step.node.name, step.release))
    patch.setattr(stage_release, "_configure", lambda step: False)
    patch.setattr(database_phase, "_configure", lambda step: None)


def _be_quiet(patch: pytest.MonkeyPatch) -> None:
    """Thousands of tasks say what they do; what matters stands in the trace of the world."""
    silent = logging.getLogger("simulation")
    silent.propagate, silent.disabled = False, True
    for kind in (BaseOperator, BaseTrigger):
        patch.setattr(kind, "log", silent)
    for module in _modules():
        if isinstance(getattr(module, "log", None), logging.Logger):
            patch.setattr(module, "log", silent)
    patch.setattr(ExecutorSafeguard, "test_mode", True)


def _dump(under: Beneath, run: str) -> str:
    """A dump takes time, and what it holds may not change meanwhile. Returns when it began."""
    begun = record_module.now()
    under.world.database.backing_up += 1
    under.world.note("backup begins")
    try:
        under.simulation.sleep(2.0)
        if not under.world.database.reachable:
            raise unreachable("database")
        under.world.database.backups[run] = begun
    finally:
        under.world.database.backing_up -= 1
        under.world.note("backup ended")
    return begun


def _on_a_thread(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    """A trigger's blocking question: cancelling the trigger does not end its thread, but nothing follows it then."""

    async def call(*arguments: Any, **named: Any) -> Any:
        actor = current()
        assert actor is not None
        actor.in_thread = True
        try:
            return function(*arguments, **named)
        finally:
            actor.in_thread = False
            if actor.cancelled:
                actor.gone = True
                raise KilledError

    return call
