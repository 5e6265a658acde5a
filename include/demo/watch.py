"""Follows one run until it ends: asks Airflow, the balancers and the load's counters, and shows what they say."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import requests
from rich.console import Console
from rich.live import Live

from include.demo import progress, render
from include.demo.rest import FINISHED_RUN_STATES, AirflowApi
from include.lab import settings
from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.hooks.balancer import BalancerHook

POLL_SECONDS = 0.7
SILENCE_SECONDS = 60.0
HELD = "held"


class SilentAirflowError(RuntimeError):
    """Airflow has stopped answering; what the run did last is in its logs."""


@dataclass
class Watcher:
    """One run of one fleet."""

    api: AirflowApi
    fleet: Fleet
    dag_id: str
    run_id: str
    counters: Path
    console: Console
    _order: progress.Order | None = field(default=None, init=False)

    def follow(self, check: Callable[[], None], on_hold: Callable[[], bool]) -> str:
        """Show the run until it has ended; returns its state. ``check`` is called each round and may raise.

        ``on_hold`` is called each time that the run begins to hold for a person; when it returns False, the run is
        no longer followed, and the result is ``held``.
        """
        held = False
        began = heard = time.monotonic()
        shown = _Terminal(self) if self.console.is_terminal else _Lines(self.console)
        with shown:
            while True:
                check()
                try:
                    shot = self._look(time.monotonic() - began)
                    heard = time.monotonic()
                except requests.RequestException as error:
                    # One slow answer is no reason to end a demo; a minute without any is.
                    if time.monotonic() - heard > SILENCE_SECONDS:
                        raise SilentAirflowError(
                            f"Airflow has not answered for {SILENCE_SECONDS:.0f} s: {error}"
                        ) from error
                else:
                    shown.show(shot)
                    if shot.run_state in FINISHED_RUN_STATES:
                        return shot.run_state
                    if shot.holds and not held and not on_hold():
                        return HELD
                    held = shot.holds
                time.sleep(POLL_SECONDS)

    def _look(self, seconds: float) -> progress.Snapshot:
        state = self.api.run_state(self.dag_id, self.run_id)
        instances = progress.instances_of(self.api.task_instances(self.dag_id, self.run_id))
        return progress.snapshot(state, seconds, self.order(), instances, self.world(), datetime.now(UTC))

    def order(self) -> progress.Order:
        """The order of the run; until it has decided, that of the inventory."""
        if self._order is None:
            nodes = self.api.xcom(self.dag_id, self.run_id, "plan")
            remaining = self.api.xcom(self.dag_id, self.run_id, "line_up")
            if not nodes or remaining is None:
                first = tuple(nodes or self.fleet.node_names)
                return progress.Order(first, first[1:])
            self._order = progress.Order(tuple(nodes), tuple(remaining))
        return self._order

    def world(self) -> progress.World:
        """What balancers and load say now; what cannot be asked is left out."""
        servers: list[progress.ServerState] = []
        names = {node.server_name: node.name for node in self.fleet.nodes}
        addresses = {one.name: (one.address, one.admin_port) for one in settings.BALANCERS}
        for balancer in self.fleet.balancers:
            with contextlib.suppress(UnreachableError, KeyError):
                servers += [
                    progress.ServerState(balancer.name, names[view.server], view.status, view.open_requests)
                    for view in BalancerHook(balancer, addresses[balancer.name]).servers()
                    if view.server in names
                ]
        counted = {}
        with contextlib.suppress(OSError, json.JSONDecodeError):
            counted = json.loads(self.counters.read_text())
        return progress.World(tuple(servers), counted.get("requests"), counted.get("failed_requests"))


class _Lines:
    """For logs and build servers."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plain = render.PlainLines()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, shot: progress.Snapshot) -> None:
        for line in self._plain.lines(shot):
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Terminal:
    """For a person at a terminal."""

    def __init__(self, watcher: Watcher) -> None:
        self._title = f"Rolling upgrade of fleet {watcher.fleet.name}, run {watcher.run_id}"
        self._balancers = tuple(one.name for one in watcher.fleet.balancers)
        self._live = Live(console=watcher.console, auto_refresh=False, transient=False)

    def __enter__(self) -> None:
        self._live.__enter__()

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, shot: progress.Snapshot) -> None:
        self._live.update(render.table(shot, self._title, self._balancers), refresh=True)
