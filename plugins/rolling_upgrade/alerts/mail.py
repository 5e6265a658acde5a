"""An alert as a mail, over an Airflow connection of type smtp."""

from __future__ import annotations

import html
import smtplib

from airflow.providers.smtp.hooks.smtp import SmtpHook

from rolling_upgrade.alerts.alert import Alert
from rolling_upgrade.alerts.sending import NotDeliveredError
from rolling_upgrade.fleet.inventory import SmtpAlert

TIMEOUT_SECONDS = 10


class _BoundedHook(SmtpHook):
    """Waits no longer than TIMEOUT_SECONDS, and tries once: an alert must not hold up what comes after it."""

    @property
    def timeout(self) -> int:
        return min(int(super().timeout), TIMEOUT_SECONDS)

    @property
    def smtp_retry_limit(self) -> int:
        return 0


def deliver(channel: SmtpAlert, alert: Alert) -> None:
    """Send one mail to all of ``to``. Raises NotDeliveredError, or what the hook raises."""
    try:
        with _BoundedHook(channel.connection) as hook:
            hook.send_email_smtp(
                to=list(channel.to),
                from_email=channel.from_address,
                subject=alert.subject,
                # The hook knows only HTML.
                html_content=f"<pre>{html.escape(alert.text)}</pre>",
            )
    except smtplib.SMTPResponseException as error:
        raise NotDeliveredError(f"the mail server answered {error.smtp_code}") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(sorted({str(code) for code, _ in error.recipients.values()}))
        raise NotDeliveredError(f"the mail server refused every recipient with {codes}") from None
