"""A fleet of three nodes on the old release beside a database, and what may not change when a step refuses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rolling_upgrade.decisions.schema_checks import TRUST
from rolling_upgrade.evidence.record import now
from rolling_upgrade.fleet.inventory import Fleet
from rolling_upgrade.operators.check_database import CheckDatabaseOperator
from rolling_upgrade.operators.database_phase import ExpandOperator
from rolling_upgrade.services.glance import GLANCE
from rolling_upgrade.services.profile import ServiceProfile
from rolling_upgrade.triggers.phase_complete import PhaseCompleteTrigger
from rolling_upgrade.triggers.waiting import Wait
from tests.integration.parts.fleets import NAME, NEW, OLD, SCHEMA, context, plan, write_fleet
from tests.integration.parts.mariadb import MariaDB
from tests.integration.parts.services import lay_out, service
from tests.integration.parts.sshd import Sshd

LONG_SECONDS = 2
"""After which a transaction counts as long."""
HAS_ROWS = """
SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'rolling_upgrade' AND TABLE_NAME = 'log_bin_trust'
"""
STATUS = """\
#!/bin/sh
echo "$0 $*" >> "$(dirname "$0")/asked"
echo "upgrade check as told"
exit {status}
"""
# As Glance has them, as far as leftovers of its earlier data migrations show there.
TABLES = (
    "CREATE TABLE images (id VARCHAR(36) PRIMARY KEY, visibility ENUM('private', 'public', 'shared', 'community'))",
    "CREATE TABLE image_locations (id INT PRIMARY KEY AUTO_INCREMENT, image_id VARCHAR(36), meta_data TEXT)",
    "INSERT INTO images VALUES ('one', 'public'), ('two', 'shared')",
    """INSERT INTO image_locations VALUES (NULL, 'one', '{"store": "file"}'), (NULL, 'two', NULL)""",
)


def like_glance(profile: ServiceProfile) -> ServiceProfile:
    """The small service, with an upgrade check, and with what Glance's profile refuses."""
    return replace(
        profile,
        status="bin/status",
        removed_options=GLANCE.removed_options,
        removed_programs=("small-registry",),
        earlier_migrations=GLANCE.earlier_migrations,
    )


@dataclass
class SchemaWorld:
    """What the check and expand ask."""

    fleet: Fleet
    profile: ServiceProfile
    database: MariaDB
    ssh: Sshd

    def configuration(self, release: str) -> Path:
        return Path(self.profile.configuration_file(release))

    def upgrade_check(self, status: int) -> None:
        """What the new release's own check will end with."""
        path = Path(self.profile.tree(NEW)) / self.profile.status
        path.write_text(STATUS.format(status=status))
        path.chmod(0o755)

    @property
    def upgrade_checks(self) -> list[str]:
        asked = Path(self.profile.tree(NEW)) / "bin" / "asked"
        return asked.read_text().splitlines() if asked.exists() else []

    def check(self) -> Any:
        return CheckDatabaseOperator(task_id="check_database", fleet=NAME, node="node1").execute(context(self.fleet))

    def expand(self) -> Any:
        step = ExpandOperator(task_id="expand", fleet=NAME, node="node1")
        return step.execute(context(self.fleet, backup_database={"begun": now()}))

    def see_end(self, phase: str) -> Any:
        """What the wait for the phase's end says, once."""
        wait = Wait(self.fleet, self.profile, plan(self.fleet), self.fleet.node("node1"), time.time())
        return PhaseCompleteTrigger(fleet=NAME, nodes_from="plan", phase=phase).poll(wait)

    def forbid_trust(self) -> None:
        """Let the fleet file no longer allow the workflow to set what the server trusts."""
        self.fleet = write_fleet(Path(os.environ["ROLLING_UPGRADE_FLEETS"]))

    @property
    def trusts(self) -> bool:
        return bool(self.database.run(f"SELECT @@GLOBAL.{TRUST}")[0][0])

    @property
    def remembered(self) -> list[tuple[Any, ...]]:
        """What the server had before, by database."""
        if not self.database.run(HAS_ROWS):
            return []
        return self.database.run("SELECT database_name, previous FROM rolling_upgrade.log_bin_trust ORDER BY 1")

    def state(self) -> tuple[Any, ...]:
        """All that a refused step must leave as it was: the schema, the server's setting, the nodes' units."""
        tables = [row[0] for row in self.database.run(f"SHOW TABLES FROM {SCHEMA}")]
        listed = ", ".join(f"{SCHEMA}.{table}" for table in tables)
        return (
            [self.database.run(f"SHOW CREATE TABLE {SCHEMA}.{table}") for table in tables],
            self.database.run(f"CHECKSUM TABLE {listed} EXTENDED"),
            self.database.run(f"SHOW TRIGGERS FROM {SCHEMA}"),
            self.database.run(f"SELECT @@GLOBAL.{TRUST}"),
            self.database.run(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'rolling_upgrade' "
                "AND TABLE_NAME <> 'claims'"
            ),
            self.ssh.told,
        )


@contextmanager
def schema_world(
    fleet: Fleet, profile: ServiceProfile, database: MariaDB, ssh: Sshd, heads: Sequence[str] = ("one_contract",)
) -> Iterator[SchemaWorld]:
    """One as it is before expand, in which all nodes are proven to run the old release."""
    root = Path(profile.root)
    lay_out(root, OLD, NEW, current=OLD)
    database.run(*TABLES, schema=SCHEMA)
    database.at(*heads)
    world = SchemaWorld(fleet, profile, database, ssh)
    for release in (OLD, NEW):
        world.configuration(release).parent.mkdir(parents=True)
        world.configuration(release).write_text("[DEFAULT]\nbind_port = 9292\n")
    if profile.status:
        world.upgrade_check(0)
    with service(root, f"releases/{OLD}", profile.port):
        yield world
