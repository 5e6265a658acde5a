"""Alerts as they arrive at a real SMTP server and a real HTTP server, and what is said when they do not."""

from __future__ import annotations

import base64
import email
import logging
import time
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.log import mask_secret

from rolling_upgrade import alerts
from rolling_upgrade.alerts import Alert, What, notifier, webhook
from rolling_upgrade.alerts.notifier import FleetNotifier
from rolling_upgrade.errors import VerifyError
from rolling_upgrade.fleet.inventory import Fleet, load
from tests.integration.parts.fleets import NAME, RUN, write_fleet
from tests.integration.parts.mail_server import MailServer, mail_server
from tests.integration.parts.processes import free_port
from tests.integration.parts.site import SetConnection
from tests.integration.parts.tasks import states
from tests.integration.parts.webhook import Webhook
from tests.integration.parts.webhook import webhook as http_server

pytestmark = pytest.mark.integration

SECRET = "nobody-may-see-this"
MAIL = {
    "kind": "smtp",
    "connection": "it_mail",
    "to": ["ops@example.org", "night@example.org"],
    "from_address": "airflow@example.org",
}
HOOK = {"kind": "webhook", "connection": "it_hook"}
ERROR = VerifyError("it is <ill>.", expected="health.", safe="nothing was cut.", next_step="mend it.")


@pytest.fixture(autouse=True)
def _quiet_world(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    caplog.set_level(logging.INFO)


@pytest.fixture
def hook(set_connection: SetConnection) -> Iterator[Webhook]:
    with http_server() as server:
        set_connection("it_hook", server.connection())
        yield server


@pytest.fixture
def mails(set_connection: SetConnection) -> Iterator[MailServer]:
    with mail_server() as server:
        set_connection("it_mail", server.connection())
        yield server


def fleet(folder: Path, *channels: Mapping[str, object]) -> Fleet:
    write_fleet(folder)
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "alerts": list(channels)}))
    return load(path)


def task(**changes: Any) -> Any:
    """A task instance of the second node, as a callback has it."""
    fields = {"dag_id": NAME, "run_id": RUN, "task_id": "stop", "map_index": 1, "task": SimpleNamespace(node="node2")}
    return SimpleNamespace(**{**fields, "xcom_pull": lambda **asked: None, **changes})


def alert(message: str = str(ERROR), what: What = What.FAILED) -> Alert:
    return alerts.about(NAME, task(), what, message, node="node2")


def test_a_mail_reaches_everybody_with_subject_message_and_link(mails: MailServer, tmp_path: Path) -> None:
    alerts.send(fleet(tmp_path, MAIL), alert(what=What.HOLDS))

    (mail,) = mails.got
    assert (mail.sender, mail.recipients) == ("airflow@example.org", ["ops@example.org", "night@example.org"])
    message = email.message_from_string(mail.text)
    assert message["Subject"] == "[it] stop of node2 holds"
    part = message.get_payload(0)
    assert isinstance(part, Message)
    body = str(part.get_payload(decode=True), "utf-8")  # type: ignore[arg-type]
    for words in ("Found: it is &lt;ill&gt;.", "Next: mend it.", "/tasks/stop/mapped/1"):
        assert words in body


def test_a_webhook_gets_json_with_all_that_its_connection_says(
    hook: Webhook, set_connection: SetConnection, tmp_path: Path
) -> None:
    extra = {"path": f"/hooks/{SECRET}", "headers": {"X-Key": SECRET}}
    set_connection("it_hook", hook.connection(login="ops", password=SECRET, extra=extra))

    alerts.send(fleet(tmp_path, HOOK), alert())

    (request,) = hook.got
    assert (request.method, request.path) == ("POST", f"/hooks/{SECRET}")
    assert request.headers["X-Key"] == SECRET
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(f"ops:{SECRET}".encode()).decode()
    assert request.headers["Content-Type"] == "application/json"
    assert request.json == alert().json


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "a.example.org"}, "http://a.example.org"),
        ({"host": "a.example.org", "schema": "https", "port": 8443}, "https://a.example.org:8443"),
        ({"host": "https://a.example.org/x/", "extra": '{"endpoint": "y"}'}, "https://a.example.org/x/y"),
        ({"host": "https://a.example.org:1/x", "port": 2}, "https://a.example.org:1/x"),
    ],
)
def test_the_url_is_what_the_connection_says(fields: dict[str, Any], url: str) -> None:
    from airflow.sdk import Connection

    assert webhook.url_of(Connection(conn_id="hook", conn_type="http", **fields)) == url


@pytest.mark.parametrize("host", ["", "ftp://a.example.org", "file:///etc/passwd"])
def test_a_connection_that_is_no_http_url_is_not_used(
    host: str, hook: Webhook, set_connection: SetConnection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_connection("it_hook", {"conn_type": "http", "host": host})
    alerts.send(fleet(tmp_path, HOOK), alert())
    assert "alert not sent over webhook connection it_hook: its host and schema make no HTTP URL" in caplog.text


def test_the_log_is_told_where_no_channel_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alerts.send(fleet(tmp_path), alert())
    (said,) = [record.getMessage() for record in caplog.records if "ALERT" in record.getMessage()]
    assert said == f"ALERT {alert().text}"


def test_a_redirect_is_not_followed(
    hook: Webhook, set_connection: SetConnection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_server() as elsewhere:
        hook.status, hook.location = 307, f"http://127.0.0.1:{elsewhere.port}/{SECRET}"
        alerts.send(fleet(tmp_path, HOOK), alert())
        assert elsewhere.got == []
    assert len(hook.got) == 1
    assert "alert not sent over webhook connection it_hook: it answered 307" in caplog.text
    assert SECRET not in caplog.text


def broken(what: str, hook: Webhook, mails: MailServer, set_connection: SetConnection) -> list[str]:
    """Break both channels in one way; what the log must say of each."""
    extra = {"path": f"/{SECRET}", "headers": {"X-Key": SECRET}}
    secret: dict[str, Any] = {"login": SECRET, "password": SECRET}
    if what == "refuses":
        hook.status, mails.refuses = 500, True
        set_connection("it_hook", hook.connection(**secret, extra=extra))
        return ["it answered 500", "the mail server answered 554"]
    if what == "cannot be reached":
        set_connection("it_hook", {**hook.connection(**secret, extra=extra), "port": free_port()})
        set_connection("it_mail", {**mails.connection(**secret), "port": free_port()})
        return ["ConnectionError", "ConnectionRefusedError"]
    if what == "takes no login":
        hook.status = 401
        set_connection("it_hook", hook.connection(**secret, extra=extra))
        set_connection("it_mail", mails.connection(**secret))
        return ["it answered 401", "SMTPNotSupportedError"]
    assert what == "is not defined"
    return ["AirflowNotFoundException", "AirflowException"]


@pytest.mark.parametrize("what", ["refuses", "cannot be reached", "takes no login", "is not defined"])
def test_a_channel_that_fails_is_named_by_its_connection_and_no_secret(
    what: str,
    hook: Webhook,
    mails: MailServer,
    set_connection: SetConnection,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reasons = broken(what, hook, mails, set_connection)
    names = ("it_absent", "it_absent") if what == "is not defined" else ("it_hook", "it_mail")

    alerts.send(fleet(tmp_path, {**HOOK, "connection": names[0]}, {**MAIL, "connection": names[1]}), alert())

    assert f"alert not sent over webhook connection {names[0]}: {reasons[0]}" in caplog.text
    assert f"alert not sent over smtp connection {names[1]}: {reasons[1]}" in caplog.text
    assert "Found: it is <ill>." in caplog.text, "the failure itself is told all the same"
    assert SECRET not in caplog.text
    assert "secret-of-the-server" not in caplog.text


def test_a_channel_that_fails_hides_no_other(hook: Webhook, mails: MailServer, tmp_path: Path) -> None:
    hook.status, mails.refuses = 500, True
    alerts.send(fleet(tmp_path, HOOK, MAIL, {**HOOK}), alert())
    assert len(hook.got) == 2
    hook.status, mails.refuses = 204, False
    alerts.send(fleet(tmp_path, HOOK, MAIL), alert())
    assert (len(hook.got), len(mails.got)) == (3, 1), "nor does one that works"


def test_a_channel_that_is_silent_is_given_up(
    hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.3)
    hook.silent.set()
    began = time.monotonic()
    alerts.send(fleet(tmp_path, HOOK), alert())
    assert time.monotonic() - began < 5
    assert "alert not sent over webhook connection it_hook: ReadTimeout" in caplog.text


def test_what_airflow_knows_to_be_secret_is_masked(hook: Webhook, tmp_path: Path) -> None:
    mask_secret("a-known-password")
    alerts.send(fleet(tmp_path, HOOK), alert("Found: cannot log in with a-known-password."))
    assert b"a-known-password" not in hook.got[0].body
    assert "cannot log in with ***" in hook.got[0].json["message"]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Webhook) -> Webhook:
    """Whom the fleet file that the callback finds names."""
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path))
    monkeypatch.setattr(notifier, "SETTLE_SECONDS", 0.3)
    fleet(tmp_path, HOOK)
    return hook


def call_back(**context: Any) -> None:
    FleetNotifier(fleet=NAME)({"ti": task(), **context})


def test_a_task_that_raised_is_told_with_its_message(told: Webhook) -> None:
    call_back(exception=ERROR)
    (request,) = told.got
    assert (request.json["message"], request.json["node"]) == (str(ERROR), "node2")


def test_an_error_without_words_is_told_by_its_name(told: Webhook) -> None:
    call_back(exception=RuntimeError())
    assert told.got[0].json["message"] == "RuntimeError"


def test_a_wait_is_told_with_what_its_trigger_left(told: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    states(monkeypatch, {"soak_1": "failed"})
    left = {("soak", "failure", 1): '"Found: it is ill."', ("line_up", "return_value", -1): ["node2", "node3"]}

    def pull(*, task_ids: str, key: str, map_indexes: int) -> object:
        return left[task_ids, key, map_indexes]

    arguments = SimpleNamespace(trigger_kwargs={"nodes_from": "line_up"})
    wait = SimpleNamespace(start_trigger_args=arguments)
    call_back(ti=task(task_id="soak", task=wait, xcom_pull=pull))

    assert (told.got[0].json["message"], told.got[0].json["node"]) == ("Found: it is ill.", "node3")


@pytest.mark.parametrize("index", [1, -1, None])
def test_a_task_that_airflow_failed_is_told_though_nothing_is_known(
    told: Webhook, monkeypatch: pytest.MonkeyPatch, index: int | None
) -> None:
    states(monkeypatch, {"stop_1" if index == 1 else "stop": "running"}, {"stop_1" if index == 1 else "stop": "failed"})
    template = SimpleNamespace(node="{{ ti.xcom_pull(task_ids='plan')[0] }}")

    call_back(ti=task(map_index=index, task=template))

    said = told.got[0].json
    assert said["found"].startswith("Airflow failed this task from outside")
    assert (said["node"], said["map_index"]) == (None, -1 if index is None else index)


@pytest.mark.parametrize("state", ["up_for_retry", "restarting", "success", None])
def test_a_task_that_has_not_failed_is_not_told(
    told: Webhook, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    states(monkeypatch, {"stop_1": state, "stop_0": "failed", "stop": "failed"})
    call_back()
    assert told.got == []


def test_a_state_that_cannot_be_asked_counts_as_failed(told: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    def unanswered(**asked: object) -> None:
        raise RuntimeError("no answer")

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", unanswered)
    call_back()
    assert len(told.got) == 1


def test_a_fleet_file_that_is_gone_leaves_the_log(
    told: Webhook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"{NAME}.yaml").unlink()
    call_back(exception=ERROR)
    assert "Found: it is <ill>." in caplog.text
    assert "nobody knows whom to tell" in caplog.text
