"""An alert as JSON, POSTed to the URL of an Airflow connection of type http."""

from __future__ import annotations

from typing import Any

import requests
from airflow.sdk import BaseHook

from rolling_upgrade.alerts.alert import Alert
from rolling_upgrade.alerts.sending import NotDeliveredError
from rolling_upgrade.fleet.inventory import WebhookAlert
from rolling_upgrade.hooks.connections import http_address

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
    """The address to POST to, as ``http_address`` reads it. Raises NotDeliveredError when that is no HTTP URL."""
    try:
        return http_address(connection)
    except ValueError as error:
        raise NotDeliveredError(str(error)) from error
