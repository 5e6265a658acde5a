"""Sending an alert: into the log always, and over each channel of the fleet file."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk.configuration import conf
from airflow.sdk.log import redact

from rolling_upgrade.alerts.alert import UNMAPPED, Alert, What, task_page
from rolling_upgrade.fleet.inventory import AlertChannel, Fleet, SmtpAlert

log = logging.getLogger(__name__)


class NotDeliveredError(Exception):
    """A channel did not take an alert. The text holds no address, path or answer: any of them may be a secret."""


def about(fleet: str, ti: Any, what: What, message: str, *, node: str | None = None) -> Alert:
    """The alert on a task instance, as a task or a trigger has it; what Airflow knows to be secret is masked."""
    map_index = UNMAPPED if ti.map_index is None else ti.map_index
    base_url = conf.get("api", "base_url", fallback=None) or "http://localhost:8080"
    return Alert(
        fleet=fleet,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=map_index,
        node=node,
        what=what,
        message=str(redact(message)),
        link=task_page(base_url, ti.dag_id, ti.run_id, ti.task_id, map_index),
    )


def send(fleet: Fleet, alert: Alert) -> None:
    """Log the alert, then try every channel. Never raises: a channel that fails is logged by its connection's id.

    It blocks, for up to 10 s to connect and 10 s for each answer of a channel: from a trigger, call it on a thread.
    """
    write(alert)
    for channel in fleet.alerts:
        try:
            _deliver(channel, alert)
        except NotDeliveredError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must hide neither the failure nor another channel
            # Its text may hold the connection's address, path or password.
            reason = type(error).__name__
        else:
            log.info("told %s connection %s: %s", channel.kind, channel.connection, alert.subject)
            continue
        log.error("alert not sent over %s connection %s: %s", channel.kind, channel.connection, reason)


def write(alert: Alert) -> None:
    """Into the log of whatever process this is."""
    log.error("ALERT %s", alert.text)


def _deliver(channel: AlertChannel, alert: Alert) -> None:
    # What a channel needs takes long to import, and every task imports this module with its DAG.
    if isinstance(channel, SmtpAlert):
        from rolling_upgrade.alerts import mail

        mail.deliver(channel, alert)
    else:
        from rolling_upgrade.alerts import webhook

        webhook.deliver(channel, alert)
