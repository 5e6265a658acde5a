"""Glance: what is particular to it. Source: Glance administration guide, "Rolling Upgrades"."""

from __future__ import annotations

from rolling_upgrade.services.profile import DataMigration, HttpProbe, RemovedOption, ServiceProfile

TRUE = frozenset({"true", "1", "on", "yes"})
"""How oslo.config spells it."""
# As Glance's own data migrations tell whether they have rows left (glance/db/sqlalchemy/alembic_migrations). That of
# Ocata also counts private images with members, which since then are nothing wrong. All since Train change no rows.
EARLIER_MIGRATIONS = (
    DataMigration(
        release="Ocata",
        table="images",
        column="visibility",
        where="visibility IS NULL",
        what="rows of images have no visibility",
        remedy="run `glance-manage db migrate` of Ocata while images.is_public is still there; where it is gone, only "
        "a backup from before knows what was public",
    ),
    DataMigration(
        release="Ocata",
        table="images",
        column="is_public",
        where="",
        what="images.is_public is still there, which Ocata's contract removes",
        remedy="finish the upgrade to Ocata with its own `glance-manage db migrate` and `db contract`",
    ),
    DataMigration(
        release="Train",
        table="image_locations",
        column="meta_data",
        where="INSTR(meta_data, '\"backend\":') > 0",
        what="rows of image_locations name their store as backend",
        remedy="run `glance-manage db migrate` of Train, or its statement: UPDATE image_locations SET meta_data = "
        "REPLACE(meta_data, '\"backend\":', '\"store\":') WHERE INSTR(meta_data, '\"backend\":') > 0;",
    ),
)

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
    status="bin/glance-status",
    # "Rolling Upgrades": only API v2 without Registry can be upgraded this way.
    removed_options=(
        RemovedOption("enable_v1_api", TRUE),
        RemovedOption("enable_v1_registry", TRUE),
        RemovedOption("enable_v2_registry", TRUE),
        RemovedOption("data_api", frozenset({"glance.db.registry.api"})),
        RemovedOption("registry_host"),
    ),
    removed_programs=("glance-registry",),
    earlier_migrations=EARLIER_MIGRATIONS,
)
