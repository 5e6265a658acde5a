"""The load sees what it must see: the same steps fail requests without the drain, and none with it.

The steps are done by hand here, on the running lab, so that this says something about the load and the drain
and nothing about the workflow. ``LAB_TEST_WITHOUT_DRAIN`` is known to this file only.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from include.lab import balancers, record, settings
from include.lab.settings import BACKEND, BALANCERS, PROJECT_ROOT, SERVICE_PORT
from include.lab.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WITHOUT_DRAIN = "LAB_TEST_WITHOUT_DRAIN"
UNIT = "glance-api"
TRANSFERS = {"slow_upload", "slow_download"}
BOTH_WAYS = ("upload", "download")


def lab(*words: str, seconds: float = 180) -> str:
    """Run ``./lab`` with these words and return what it printed."""
    done = subprocess.run([PROJECT_ROOT / "lab", *words], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"lab {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


class Node:
    """One node, and its steps as an operator does them by hand."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str) -> str:
        return lab("shell", self.name, "--", *command, seconds=60)

    def on(self, balancer: settings.Balancer) -> balancers.ServerState:
        return next(seen for seen in balancers.servers(balancer) or [] if seen.server == self.name)

    def set_rotation(self, state: str) -> None:
        for balancer in BALANCERS:
            answer = balancers.ask(balancer, f"set server {BACKEND}/{self.name} state {state}").strip()
            assert answer == "", f"{balancer.name} said {answer!r}"

    def has_no_sockets(self) -> bool:
        return not self.run("ss", "-Htn", "state", "established", f"( sport = :{SERVICE_PORT} )").strip()

    def is_up_everywhere(self) -> bool:
        return all(self.on(balancer).status == "UP" for balancer in BALANCERS)

    def drain(self) -> None:
        """Out of rotation; back only when no request and no connection is left."""
        self.set_rotation("drain")
        until(
            lambda: all(self.on(balancer).sessions == 0 for balancer in BALANCERS),
            f"the end of all requests on {self.name}",
            seconds=120,
        )
        # Closes the idle connections that the balancers keep for the next request.
        self.set_rotation("maint")
        until(self.has_no_sockets, f"the end of all connections on {self.name}", seconds=30)

    def restart(self) -> None:
        """The steps of one node, without the drain where the test's variable says so."""
        if os.environ.get(WITHOUT_DRAIN) != "1":
            self.drain()
        self.run("systemctl", "stop", UNIT)
        self.give_back()

    def give_back(self) -> None:
        self.run("systemctl", "start", UNIT)
        self.set_rotation("ready")
        until(self.is_up_everywhere, f"{self.name} UP on every balancer", seconds=60)


class Fleet:
    """The lab under load."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    def node_with_transfers_both_ways(self) -> Node:
        """Wait until some node serves an upload and a download of tens of seconds, and return that one.

        Which one is the balancers' choice; to wait for a certain one might take many transfers.
        """
        found: list[Node] = []

        def look() -> bool:
            running = json.loads(lab("load", "status", "--json"))["counters"]["running_transfers"]
            found[:] = [node for node in self.nodes if all(running.get(node.name, {}).get(way) for way in BOTH_WAYS)]
            return bool(found)

        until(look, "a node with a slow upload and a slow download", seconds=180)
        return found[0]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(lab("load", "stop", "--json"))
        assert found["fault_of_the_load"] is None
        assert found["ended_by_itself"]
        assert found["audit"]["complete"]
        return found


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """The lab, up, with every node in rotation and a load of its own; as it was, afterwards."""
    lab("up")
    known = record.as_recorded(settings.from_environment())
    fleet = Fleet([Node(one.name) for one in known.nodes])
    assert len(known.nodes) > 1, "one node cannot be taken out of rotation without failures"
    until(lambda: balancers.all_up(known), "every node UP on every balancer", seconds=60)
    # The same load as the upgrade is tested with, or this would say nothing of what that one can see.
    lab("load", "start")
    try:
        yield fleet
    finally:
        lab("load", "stop")
        for node in fleet.nodes:
            node.give_back()


@pytest.mark.parametrize("without_drain", [False, True], ids=["with drain", "without drain"])
def test_only_without_the_drain_do_requests_fail(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, without_drain: bool
) -> None:
    # Given a node that serves slow transfers in both directions
    if without_drain:
        monkeypatch.setenv(WITHOUT_DRAIN, "1")
    node = fleet.node_with_transfers_both_ways()

    # When it is restarted
    node.restart()

    # Then users notice it exactly if it was not drained
    result = fleet.result()
    if without_drain:
        assert result["failed_requests"] >= 1
        cut = [line for line in result["failures"] if line["op"] in TRANSFERS and line["server"] == node.name]
        assert cut, f"no transfer of {node.name} among {result['failures']}"
    else:
        assert result["failures"] == []
        assert result["failed_requests"] == 0
        assert result["images_left_wrong"] == []
