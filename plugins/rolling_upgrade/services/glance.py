"""Glance: what is particular to it. Source: Glance administration guide, "Rolling Upgrades"."""

from __future__ import annotations

from rolling_upgrade.services.profile import HttpProbe, ServiceProfile

GLANCE = ServiceProfile(
    name="glance",
    unit="glance-api.service",
    user="glance",
    group="glance",
    port=9292,
    root="/opt/glance",
    manage="bin/glance-manage",
    configuration="etc/glance/glance-api.conf",
    probes=(
        HttpProbe("/healthcheck", frozenset({200})),
        # Goes through the paste pipeline to the database. With Keystone an anonymous client is refused by the
        # pipeline itself, and that too is a correct answer.
        HttpProbe("/v2/images?limit=1", frozenset({200, 401}), contains=""),
    ),
    validator="bin/oslo-config-validator",
    # As Glance's own generator of a sample configuration names them (its etc/oslo-config-generator/glance-api.conf).
    option_namespaces=(
        "glance.api",
        "glance.store",
        "glance.multi_store",
        "oslo.concurrency",
        "oslo.messaging",
        "oslo.middleware",
        "oslo.db",
        "oslo.db.concurrency",
        "oslo.policy",
        "oslo.log",
        "oslo.reports",
        "oslo.limit",
        "keystonemiddleware.auth_token",
    ),
    image_api=True,
)
