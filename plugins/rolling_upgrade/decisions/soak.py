"""Has a node that came back made more errors than its soak lets pass? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rolling_upgrade.decisions.rotation import Errors, ServerView

Counts = Mapping[str, Mapping[str, int]]
"""By balancer, as it goes into a record: the counters of one server."""


def counts(views: Iterable[ServerView]) -> dict[str, dict[str, int]]:
    """The counters of one server by balancer, for a record."""
    return {view.balancer: dict(vars(view.errors)) for view in views}


def errors_since(before: Errors, now: Errors) -> Errors:
    """What was counted in between. A balancer that was restarted counts from 0: then all of it is new."""
    if any(getattr(now, name) < getattr(before, name) for name in vars(now)):
        return now
    return Errors(**{name: value - getattr(before, name) for name, value in vars(now).items()})


def too_many(before: Counts | None, views: Iterable[ServerView], limit: int) -> list[str]:
    """Balancers on which the server made more errors than ``limit`` since ``before``, with what was counted.

    Without a count from before, nothing can be compared, and nothing is said.
    """
    reasons = []
    for view in views:
        known: Mapping[str, Any] | None = (before or {}).get(view.balancer)
        if known is None:
            continue
        since = errors_since(Errors(**known), view.errors)
        if since.total > limit:
            reasons.append(f"{view.balancer} counted {since} since its return, at most {limit} may be")
    return reasons
