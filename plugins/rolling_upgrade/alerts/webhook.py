"""An alert as JSON, POSTed to the URL of an Airflow connection of type http."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
from airflow.sdk import BaseHook

from rolling_upgrade.alerts.alert import Alert
from rolling_upgrade.alerts.sending import NotDeliveredError
from rolling_upgrade.fleet.inventory import WebhookAlert

TIMEOUT_SECONDS = 10.0


def deliver(channel: WebhookAlert, alert: Alert) -> None:
    """POST once. Raises NotDeliveredError for any answer but 2xx, requests.RequestException for none.

    A redirect is not followed: it would take the alert, and what authorizes it, to another place.
    """
    connection = BaseHook.get_connection(channel.connection)
    headers = connection.extra_dejson.get("headers") or {}
    answer = requests.post(
        url_of(connection),
        json=alert.json,
        headers={str(name): str(value) for name, value in headers.items()},
        auth=(connection.login, connection.password or "") if connection.login else None,
        timeout=TIMEOUT_SECONDS,
        allow_redirects=False,
    )
    if not 200 <= answer.status_code < 300:
        raise NotDeliveredError(f"it answered {answer.status_code}")


def url_of(connection: Any) -> str:
    """``host`` with schema (default http) and port, and the extra ``path`` or ``endpoint``; or a whole URL as host.

    Raises NotDeliveredError when that is no HTTP URL.
    """
    host = str(connection.host or "")
    url = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    if connection.port and urlsplit(url).port is None:
        parts = urlsplit(url)
        url = parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()
    extra = connection.extra_dejson
    if path := str(extra.get("path") or extra.get("endpoint") or ""):
        url = f"{url.rstrip('/')}/{path.lstrip('/')}"
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise NotDeliveredError("its host and schema make no HTTP URL")
    return url
