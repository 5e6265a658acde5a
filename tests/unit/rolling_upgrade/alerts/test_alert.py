"""What an alert says, in each form."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rolling_upgrade.alerts.alert import UNMAPPED, Alert, What, task_page
from rolling_upgrade.errors import VerifyError

ERROR = VerifyError("it is\nill.", expected="health.", safe="nothing was cut.", next_step="mend it.")
RUN = "manual__2030-01-01T00:00:00+00:00"
PAGE = task_page("https://air.example.org/flow/", "glance_lab", RUN, "nodes.stop", 1)


def alert(**changes: object) -> Alert:
    made = Alert("lab", "glance_lab", RUN, "nodes.stop", 1, "node2", What.FAILED, str(ERROR), PAGE)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_the_page_of_a_task_is_below_the_base_url_with_every_part_quoted() -> None:
    run = "manual__2030-01-01T00%3A00%3A00%2B00%3A00"
    assert PAGE.removeprefix("https://air.example.org/flow/") == (
        f"dags/glance_lab/runs/{run}/tasks/nodes.stop/mapped/1"
    )
    assert task_page("http://a", "d", "a/b?c", "plan", UNMAPPED) == "http://a/dags/d/runs/a%2Fb%3Fc/tasks/plan"


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({}, "[lab] nodes.stop of node2 failed"),
        ({"node": None}, "[lab] nodes.stop [1] failed"),
        ({"node": None, "map_index": UNMAPPED}, "[lab] nodes.stop failed"),
        ({"what": What.HOLDS}, "[lab] nodes.stop of node2 holds"),
        ({"node": "node2\r\nBcc: other@example.org"}, "[lab] nodes.stop of node2 Bcc: other@example.org failed"),
    ],
)
def test_the_subject_is_one_line(changes: dict[str, object], subject: str) -> None:
    assert alert(**changes).subject == subject


def test_the_text_has_the_message_and_where_to_look() -> None:
    text = alert().text
    for part in ("[lab] nodes.stop of node2 failed", str(ERROR), PAGE, "glance_lab", RUN):
        assert part in text


def test_the_json_has_each_part_and_the_text() -> None:
    said = json.loads(json.dumps(alert().json))
    assert said == {
        "text": alert().text,
        "fleet": "lab",
        "dag_id": "glance_lab",
        "run_id": RUN,
        "task_id": "nodes.stop",
        "map_index": 1,
        "node": "node2",
        "what": "failed",
        "message": str(ERROR),
        "found": "it is\nill.",
        "expected": "health.",
        "safe": "nothing was cut.",
        "next": "mend it.",
        "link": PAGE,
    }


def test_a_message_of_another_form_is_whole_and_has_no_parts() -> None:
    said = alert(message="KeyError").json
    assert said["message"] == "KeyError"
    assert {said[name] for name in ("found", "expected", "safe", "next")} == {None}
