"""A thin client of Airflow's stable REST API (``/api/v2``): what the demo and end-to-end tests need."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import requests

TIMEOUT_SECONDS = 30.0
PAGE = 100
SECRET_PATHS = ("/api/v2/connections", "/auth/")
"""To these passwords are sent."""
FINISHED_RUN_STATES = frozenset({"success", "failed"})


class AirflowError(RuntimeError):
    """Airflow answered with something other than what was asked for; ``status`` is the HTTP status."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class AirflowApi:
    """One login to one Airflow. Raises AirflowError for refusals, requests.RequestException for no answer."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._session = requests.Session()
        # Loopback must not go through a proxy that the environment names.
        self._session.trust_env = False

    def health(self) -> dict[str, Any]:
        """State of each component: ``{"scheduler": {"status": "healthy", …}, …}``; needs no login."""
        answer = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
        return self._json(answer)

    def tasks_can_report(self) -> None:
        """Ask for what tasks talk to. Raises AirflowError when it cannot be had.

        The api-server builds that part at its first request, which takes seconds: better now than when a run waits.
        """
        self._json(self._session.get(f"{self.url}/execution/health", timeout=TIMEOUT_SECONDS))

    def unhealthy(self) -> list[str]:
        """Names of components that are not healthy (yet)."""
        return sorted(name for name, part in self.health().items() if (part or {}).get("status") != "healthy")

    def put_connections(self, connections: dict[str, dict[str, Any]]) -> None:
        """Create or overwrite connections given as ``airflow connections import`` takes them."""
        entities = []
        for connection_id, fields in connections.items():
            entity = {name: value for name, value in fields.items() if value is not None}
            if isinstance(entity.get("extra"), dict):
                entity["extra"] = json.dumps(entity["extra"])
            entities.append(entity | {"connection_id": connection_id})
        action = {"action": "create", "entities": entities, "action_on_existence": "overwrite"}
        result = self.call("PATCH", "/connections", json={"actions": [action]})
        errors = (result.get("create") or {}).get("errors") or []
        if errors:
            # Their texts may repeat what was sent, and with it a password.
            states = sorted({str(one.get("status_code")) for one in errors if isinstance(one, dict)})
            raise AirflowError(
                f"Airflow refused {len(errors)} of {len(entities)} connections, with status "
                f"{', '.join(states) or 'unknown'}. No run was started. Its api-server.log may tell why."
            )

    def import_errors(self) -> list[str]:
        """What keeps DAG files from being loaded: file and traceback."""
        found = self.call("GET", "/importErrors").get("import_errors", [])
        return [f"{item.get('filename')}: {item.get('stack_trace')}" for item in found]

    def dag_exists(self, dag_id: str) -> bool:
        """Whether the DAG has been parsed and can be triggered."""
        try:
            return not self.call("GET", f"/dags/{_part(dag_id)}").get("is_stale", False)
        except AirflowError as error:
            if error.status == 404:
                return False
            raise

    def trigger(self, dag_id: str, conf: dict[str, Any], run_id: str | None = None) -> str:
        """Start a run as the form does; returns its run id."""
        body: dict[str, Any] = {"logical_date": None, "conf": conf}
        if run_id is not None:
            body["dag_run_id"] = run_id
        return str(self.call("POST", f"/dags/{_part(dag_id)}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The run: ``state`` is queued, running, success or failed."""
        return self.call("GET", _run_path(dag_id, run_id))

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self.run(dag_id, run_id)["state"])

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """End a run by hand: ``state`` is success or failed."""
        self.call("PATCH", _run_path(dag_id, run_id), json={"state": state})

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances, mapped ones with their ``map_index`` (-1: not mapped)."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call(
                "GET",
                f"{_run_path(dag_id, run_id)}/taskInstances",
                params={"limit": PAGE, "offset": len(found)},
            )
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """The value a task has pushed; None if it has pushed none."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_part(task_id)}/xcomEntries/{_part(key)}"
        try:
            return self.call("GET", path, params={"map_index": map_index, "deserialize": "true"})["value"]
        except AirflowError as error:
            if error.status == 404:
                return None
            raise

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """The log of one try as plain text, one event a line."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_part(task_id)}/logs/{try_number}"
        content = self.call("GET", path, params={"map_index": map_index, "full_content": "true"})["content"]
        return "\n".join(_log_line(event) for event in content)

    def clear(
        self, dag_id: str, run_id: str, task_ids: list[str | tuple[str, int]], *, downstream: bool = True
    ) -> list[str]:
        """Clear tasks to run again (``("group.task", 2)``: one map index). Returns what was cleared."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [list(item) if isinstance(item, tuple) else item for item in task_ids],
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        cleared = self.call("POST", f"/dags/{_part(dag_id)}/clearTaskInstances", json=body)
        return [item["task_id"] for item in cleared["task_instances"]]

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """One request below ``/api/v2``, logging in first where needed."""
        if "Authorization" not in self._session.headers:
            self._log_in()
        answer = self._send(method, path, arguments)
        if answer.status_code == 401:  # the token has expired: a demo may stay up for days
            self._log_in()
            answer = self._send(method, path, arguments)
        return self._json(answer)

    def _send(self, method: str, path: str, arguments: dict[str, Any]) -> requests.Response:
        return self._session.request(method, f"{self.url}/api/v2{path}", timeout=TIMEOUT_SECONDS, **arguments)

    def _log_in(self) -> None:
        self._session.headers.pop("Authorization", None)
        answer = self._session.post(f"{self.url}/auth/token", json=self._login, timeout=TIMEOUT_SECONDS)
        self._session.headers["Authorization"] = f"Bearer {self._json(answer)['access_token']}"

    @staticmethod
    def _json(answer: requests.Response) -> dict[str, Any]:
        if not answer.ok:
            request = answer.request
            # An answer that refuses what was sent may repeat it, and with it a password.
            secret = request.path_url.startswith(SECRET_PATHS)
            said = "what it said is not shown, as it may hold passwords" if secret else answer.text[:2000]
            raise AirflowError(
                f"Airflow answered {answer.status_code} to {request.method} {request.path_url}: {said}",
                answer.status_code,
            )
        return dict(answer.json()) if answer.content else {}


def _part(text: str) -> str:
    return quote(text, safe="")


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}"


def _log_line(event: Any) -> str:
    """One event as a person reads it: when, how bad, what; for an exception its kind and text, without frames."""
    if isinstance(event, str):
        return event
    text = f"{event.get('timestamp') or ''} {event.get('level') or ''} {event.get('event')}".strip()
    causes = [f"{one.get('exc_type')}: {one.get('exc_value')}" for one in event.get("error_detail") or []]
    return "\n".join([text, *causes])
