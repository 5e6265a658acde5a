"""Looks at each balancer by itself, more than twice a second, and keeps which servers were taken out when.

As the end-to-end tests' sampler, but a balancer that gives no answer hides nothing of the other.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from include.demo import lab
from include.lab import settings
from rolling_upgrade.decisions.rotation import Rotation
from rolling_upgrade.errors import UnreachableError
from rolling_upgrade.fleet import inventory
from rolling_upgrade.hooks.balancer import BalancerHook
from tests.e2e.rehearsal import SAMPLE_SECONDS

Rotations = dict[str, Rotation]


def hooks() -> list[BalancerHook]:
    """The lab's balancers, asked without Airflow."""
    fleet = inventory.load(lab.state() / "fleets" / "lab.yaml")
    addresses = {one.name: (one.address, one.admin_port) for one in settings.BALANCERS}
    return [BalancerHook(balancer, addresses[balancer.name]) for balancer in fleet.balancers]


def rotations(hook: BalancerHook) -> Rotations | None:
    """Where each server stands with this balancer; None where it gives no answer."""
    try:
        return {view.server: view.rotation for view in hook.servers()}
    except UnreachableError:
        return None


@dataclass
class Watch:
    """Samples of all balancers, in the order in which they were taken."""

    samples: list[tuple[float, str, Rotations | None]] = field(default_factory=list)
    """When (``time.time()``), which balancer, and what it said."""

    def __enter__(self) -> Self:
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(hook,), daemon=True) for hook in hooks()]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, hook: BalancerHook) -> None:
        due = time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            due = max(due + SAMPLE_SECONDS, time.monotonic())
            said = rotations(hook)
            self.samples.append((time.time(), hook.name, said))

    def taken_out_together(self) -> set[frozenset[str]]:
        """Every set of servers that were out by somebody's choice at one time, on whatever balancer."""
        known: dict[str, frozenset[str]] = {}
        together = set()
        for _, balancer, said in self.samples:
            known[balancer] = frozenset(name for name, rotation in (said or {}).items() if rotation.is_out)
            together.add(frozenset().union(*known.values()))
        return together

    def answers(self) -> int:
        """How many samples got an answer."""
        return sum(said is not None for _, _, said in self.samples)
