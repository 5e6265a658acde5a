"""The client against a small real HTTP server that answers as Airflow does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from include.demo.rest import AirflowApi, AirflowError

INSTANCES = [{"task_id": f"t{i}", "map_index": -1, "state": "success"} for i in range(130)]


class Handler(BaseHTTPRequestHandler):
    token = "first"
    refusal: tuple[int, dict[str, Any]] | None = None
    seen: list[tuple[str, str, Any]] = []  # noqa: RUF012 - one list for all, emptied by the fixture

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        self.seen.append((self.command, parts.path, body))
        status, answer = self._answer(parts.path, parse_qs(parts.query), body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = _any  # noqa: N815

    def _answer(self, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path == "/execution/health":
            return (503, {"detail": "not yet"}) if Handler.refusal else (200, {"status": "healthy"})
        if path == "/auth/token":
            return (201, {"access_token": Handler.token}) if body["password"] == "right" else (401, {"detail": "no"})
        if self.headers.get("Authorization") != f"Bearer {Handler.token}":
            return 401, {"detail": "no"}
        if path.endswith("/taskInstances"):
            offset = int(query["offset"][0])
            return 200, {"task_instances": INSTANCES[offset : offset + 100], "total_entries": len(INSTANCES)}
        if path.endswith("/xcomEntries/return_value"):
            return 200, {"value": ["node1"]}
        if path.endswith("/dagRuns"):
            return 200, {"dag_run_id": "manual__1", "state": "queued"}
        if path == "/api/v2/connections":
            if Handler.refusal:
                return Handler.refusal[0], Handler.refusal[1] | {"input": body}
            return 200, {"create": {"success": ["lab_node1"], "errors": []}}
        if path.endswith("/logs/1"):
            return 200, {
                "content": [
                    {"timestamp": "T", "level": "error", "event": "failed", "ti_id": "x",
                     "error_detail": [{"exc_type": "RefusedError", "exc_value": "Found: x", "frames": []}]},
                    {"event": "plain"},
                ]
            }  # fmt: skip
        return 404, {"detail": "not found"}

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Handler.seen.clear()
    Handler.token = "first"
    Handler.refusal = None
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def api(url: str) -> AirflowApi:
    return AirflowApi(url, "admin", "right")


def test_it_logs_in_once(api: AirflowApi) -> None:
    assert api.trigger("d", {"target_release": "28.1.0"}) == "manual__1"
    api.trigger("d", {})
    assert [path for _, path, _ in Handler.seen].count("/auth/token") == 1
    assert (
        "POST",
        "/api/v2/dags/d/dagRuns",
        {"logical_date": None, "conf": {"target_release": "28.1.0"}},
    ) in Handler.seen


def test_it_logs_in_again_when_the_token_has_expired(api: AirflowApi) -> None:
    api.trigger("d", {})
    Handler.token = "second"
    assert api.trigger("d", {}) == "manual__1"


def test_a_wrong_password_is_told_without_the_password(url: str) -> None:
    with pytest.raises(AirflowError, match="401") as refused:
        AirflowApi(url, "admin", "sesame").trigger("d", {})
    assert refused.value.status == 401
    assert "sesame" not in str(refused.value)


def test_all_pages_of_task_instances_are_read(api: AirflowApi) -> None:
    assert api.task_instances("d", "r") == INSTANCES


def test_an_xcom_that_is_not_there_is_none(api: AirflowApi) -> None:
    assert api.xcom("d", "r", "plan") == ["node1"]
    assert api.xcom("d", "r", "plan", key="other") is None


def test_names_cannot_leave_their_place_in_the_path(api: AirflowApi) -> None:
    with pytest.raises(AirflowError):
        api.run("../../x", "manual__2026-01-01T00:00:00+00:00")
    assert Handler.seen[-1][1] == "/api/v2/dags/..%2F..%2Fx/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00"


def test_extra_goes_as_text_and_absent_fields_do_not_go(api: AirflowApi) -> None:
    api.put_connections({"lab_node1": {"conn_type": "ssh", "host": "h", "schema": None, "extra": {"a": 1}}})
    entity = Handler.seen[-1][2]["actions"][0]["entities"][0]
    assert entity == {"connection_id": "lab_node1", "conn_type": "ssh", "host": "h", "extra": '{"a": 1}'}


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((422, {"detail": [{"msg": "bad", "input": {"password": "sesame"}}]}), "422 to PATCH /api/v2/connections"),
        ((200, {"create": {"errors": [{"error": "not sesame", "status_code": 409}]}}), "refused 1 of 1.*409"),
    ],
)
def test_refused_connections_are_told_without_their_passwords(
    api: AirflowApi, refusal: tuple[int, dict[str, Any]], told: str
) -> None:
    Handler.refusal = refusal
    with pytest.raises(AirflowError, match=told) as refused:
        api.put_connections({"lab_node1": {"conn_type": "ssh", "password": "sesame"}})
    assert "sesame" not in str(refused.value)


def test_what_tasks_talk_to_is_asked_without_a_login(api: AirflowApi) -> None:
    api.tasks_can_report()
    assert [path for _, path, _ in Handler.seen] == ["/execution/health"]
    Handler.refusal = (503, {})
    with pytest.raises(AirflowError, match="503"):
        api.tasks_can_report()


def test_a_log_reads_as_text(api: AirflowApi) -> None:
    assert api.log("d", "r", "t").splitlines() == ["T error failed", "RefusedError: Found: x", "plain"]
