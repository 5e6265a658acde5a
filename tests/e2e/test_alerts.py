"""Every way in which a task can fail alerts exactly once, with the message, in a real Airflow. It needs no lab."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.demo.airflow_runner import RunningAirflow, running_airflow
from include.demo.rest import AirflowError
from include.lab import settings
from tests.integration.parts.processes import free_port, until
from tests.integration.parts.webhook import Webhook, webhook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

DAG_ID = "failing"
SECRET = "a-token-that-nobody-may-see"
NODES = ("node1", "node2")
EXPECTED = {("killed", -1), ("soak", -1), *((task, index) for task in ("stop", "each.soak") for index in (0, 1))}
AGAIN = ("stop", 0)
QUIET_SECONDS = 4.0
"""An alert too many would come within this time: the dag processor looks for calls every second or so."""


def write_fleet(folder: Path) -> None:
    data = yaml.safe_load((settings.PROJECT_ROOT / "include" / "fleets" / "lab.yaml").read_text())
    data["name"] = "alerted"
    data["nodes"] = [node for node in data["nodes"] if node["name"] in NODES]
    data["alerts"] = [{"kind": "webhook", "connection": "ops_webhook"}]
    folder.mkdir()
    (folder / "alerted.yaml").write_text(yaml.safe_dump(data))


def end_of_run(airflow: RunningAirflow, run_id: str) -> dict[tuple[str, int], str]:
    """Clear the task that waits for it, and await the end; the state of each task instance."""
    cleared, deadline = False, time.monotonic() + 120
    while (state := airflow.api.run_state(DAG_ID, run_id)) not in ("failed", "success"):
        assert time.monotonic() < deadline, f"the run is {state}"
        now = states(airflow, run_id)
        # A task that dies while somebody clears another is begun again, so one comes after the other.
        if not cleared and (now.get(("cleared", -1)), now.get(("killed", -1))) == ("running", "failed"):
            cleared = clear(airflow, run_id, "cleared")
        time.sleep(0.5)
    return states(airflow, run_id)


def clear(airflow: RunningAirflow, run_id: str, task: str | tuple[str, int]) -> bool:
    """Whether it could be done: with SQLite another may be writing just now."""
    with contextlib.suppress(AirflowError):
        return bool(airflow.api.clear(DAG_ID, run_id, [task]))
    return False


def states(airflow: RunningAirflow, run_id: str) -> dict[tuple[str, int], str]:
    return {(one["task_id"], one["map_index"]): one["state"] for one in airflow.api.task_instances(DAG_ID, run_id)}


def alerts(receiver: Webhook) -> list[dict[str, Any]]:
    return [request.json for request in receiver.got]


def test_each_failure_alerts_exactly_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    write_fleet(tmp_path / "fleets")
    with (
        webhook() as receiver,
        running_airflow(
            fleets=tmp_path / "fleets",
            dag_ids=[DAG_ID],
            lab=None,
            home=settings.PROJECT_ROOT / "build" / "alerting-airflow",
            dags=Path(__file__).parent / "alerting",
            port=free_port(),
        ) as airflow,
    ):
        extra = {"path": f"/hooks/{SECRET}"}
        airflow.api.put_connections({"ops_webhook": receiver.connection(extra=extra)})

        run_id = airflow.api.trigger(DAG_ID, {})
        ended = end_of_run(airflow, run_id)
        assert receiver.until(lambda got: len(got) >= len(EXPECTED), 20), [request.json for request in receiver.got]
        # What a person clears after it has failed is begun again too: it fails of the same cause, and tells it again.
        until(lambda: clear(airflow, run_id, AGAIN), "the clear", seconds=20)
        receiver.until(lambda got: len(got) > len(EXPECTED), 20)
        receiver.until(lambda got: len(got) > len(EXPECTED) + 1, QUIET_SECONDS)

        told = Counter((one["task_id"], one["map_index"]) for one in alerts(receiver))
        logs = "".join(path.read_text(errors="replace") for path in airflow.place.logs.rglob("*.log"))
    assert {key for key, state in ended.items() if state == "failed"} == EXPECTED
    assert ended["cleared", -1] == "success", "what a person clears while it runs is begun again, and has not failed"
    assert told == {**dict.fromkeys(EXPECTED, 1), AGAIN: 2}
    assert {request.path for request in receiver.got} == {extra["path"]}
    assert SECRET not in logs
    for alert in alerts(receiver):
        check(alert, airflow.url)


def check(alert: dict[str, Any], url: str) -> None:
    """The message is whole, and names what an operator needs."""
    task, index = alert["task_id"], alert["map_index"]
    words = {
        "killed": "the process that ran this task ended 3 times before the task did",
        "soak": "connection lab_lb1 cannot be used",
        "each.soak": "connection lab_lb1 cannot be used",
        "stop": "connection lab_database cannot be used",
    }
    assert alert["found"].startswith(words[task])
    assert all(alert[name] for name in ("expected", "safe", "next"))
    assert alert["what"] == "failed"
    assert alert["node"] == NODES[max(index, 0)]
    assert alert["link"].startswith(f"{url}/dags/{DAG_ID}/runs/manual__")
    assert alert["link"].endswith(f"/tasks/{task}" + (f"/mapped/{index}" if index >= 0 else ""))
