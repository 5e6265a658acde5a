"""Telling somebody that a task has failed, or that the rollout holds for a person.

from rolling_upgrade import alerts
alerts.send(fleet, alerts.about(fleet.name, task_instance, alerts.What.HOLDS, message, node="node2"))
"""

from __future__ import annotations

from rolling_upgrade.alerts.alert import Alert, What
from rolling_upgrade.alerts.sending import about, send

__all__ = ["Alert", "What", "about", "send"]
