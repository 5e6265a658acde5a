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
NODE = "node1"
UNIT = "glance-api"
TRANSFERS = {"slow_upload", "slow_download"}


def lab(*words: str, seconds: float = 180) -> str:
    """Run ``./lab`` with these words and return what it printed."""
    done = subprocess.run([PROJECT_ROOT / "lab", *words], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"lab {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def on_node(*command: str) -> str:
    return lab("shell", NODE, "--", *command, seconds=60)


def node_on(balancer: settings.Balancer) -> balancers.ServerState:
    return next(seen for seen in balancers.servers(balancer) or [] if seen.server == NODE)


def set_rotation(state: str) -> None:
    for balancer in BALANCERS:
        answer = balancers.ask(balancer, f"set server {BACKEND}/{NODE} state {state}").strip()
        assert answer == "", f"{balancer.name} said {answer!r}"


def no_sockets_on_node() -> bool:
    return not on_node("ss", "-Htn", "state", "established", f"( sport = :{SERVICE_PORT} )").strip()


def up_everywhere() -> bool:
    return all(node_on(balancer).status == "UP" for balancer in BALANCERS)


class Fleet:
    """The lab under load, and the steps of one node as an operator does them by hand."""

    def transfers_both_ways(self) -> bool:
        """True while the node serves an upload and a download of tens of seconds."""
        running = json.loads(lab("load", "status", "--json"))["counters"]["running_transfers"]
        here = running.get(NODE, {})
        return bool(here.get("upload") and here.get("download"))

    def drain(self) -> None:
        """Out of rotation; back only when no request and no connection is left."""
        set_rotation("drain")
        until(
            lambda: all(node_on(balancer).sessions == 0 for balancer in BALANCERS),
            f"the end of all requests on {NODE}",
            seconds=120,
        )
        # Closes the idle connections that the balancers keep for the next request.
        set_rotation("maint")
        until(no_sockets_on_node, f"the end of all connections on {NODE}", seconds=30)

    def restart_node(self) -> None:
        """The steps of one node, without the drain where the test's variable says so."""
        if os.environ.get(WITHOUT_DRAIN) != "1":
            self.drain()
        on_node("systemctl", "stop", UNIT)
        self.return_node()

    def return_node(self) -> None:
        on_node("systemctl", "start", UNIT)
        set_rotation("ready")
        until(up_everywhere, f"{NODE} UP on every balancer", seconds=60)

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
    fleet = Fleet()
    fleet.return_node()
    known = record.as_recorded(settings.from_environment())
    assert len(known.nodes) > 1, "one node cannot be taken out of rotation without failures"
    assert balancers.all_up(known), lab("status")
    lab("load", "start", "--slow", "8")
    try:
        yield fleet
    finally:
        lab("load", "stop")
        fleet.return_node()


@pytest.mark.parametrize("without_drain", [False, True], ids=["with drain", "without drain"])
def test_only_without_the_drain_do_requests_fail(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, without_drain: bool
) -> None:
    # Given a node that serves slow transfers in both directions
    if without_drain:
        monkeypatch.setenv(WITHOUT_DRAIN, "1")
    until(fleet.transfers_both_ways, f"an upload and a download on {NODE}", seconds=120)

    # When it is restarted
    fleet.restart_node()

    # Then users notice it exactly if it was not drained
    result = fleet.result()
    if without_drain:
        assert result["failed_requests"] >= 1
        cut = [line for line in result["failures"] if line["op"] in TRANSFERS and line["server"] == NODE]
        assert cut, f"no transfer of {NODE} among {result['failures']}"
    else:
        assert result["failures"] == []
        assert result["failed_requests"] == 0
        assert result["images_left_wrong"] == []
