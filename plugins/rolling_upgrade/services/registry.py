"""Services by the name that a fleet file gives."""

from __future__ import annotations

from rolling_upgrade.errors import RefusedError
from rolling_upgrade.services.glance import GLANCE
from rolling_upgrade.services.profile import ServiceProfile

_SERVICES = {profile.name: profile for profile in (GLANCE,)}


def profile_of(service: str) -> ServiceProfile:
    """The profile of that service. Raises RefusedError for a service that is not known."""
    try:
        return _SERVICES[service]
    except KeyError:
        raise RefusedError(
            f"service {service!r} is not known.",
            expected=f"one of {', '.join(sorted(_SERVICES))}.",
            next_step="correct `service` in the fleet file.",
        ) from None
