"""The Glance manual's own data migration, Newton to Ocata: real MariaDB, Glance's own migrations, the workflow's steps.

Source: Glance administration guide, "Rolling Upgrades"; the order of ``db check`` 3, 4, 5, 0 is its.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from include.lab.settings import from_environment
from rolling_upgrade.decisions.phases import Phase
from rolling_upgrade.errors import PrecheckError, VerifyError
from rolling_upgrade.hooks.node import NodeHook
from rolling_upgrade.hooks.phase import RemotePhase
from rolling_upgrade.services.profile import ServiceProfile
from tests.integration.parts import fleets
from tests.integration.parts.fleets import NEW, OLD, SCHEMA
from tests.integration.parts.glance import unpacked
from tests.integration.parts.mariadb import SERVICE, MariaDB
from tests.integration.parts.newton import WITNESS, Differences, differences, fill, tell_witness
from tests.integration.parts.ocata import (
    CARRIER,
    CONTRACTED,
    EXPANDED,
    Upgrade,
    know_ocata,
    make_newton,
    newton_schema,
    pinned,
)
from tests.integration.parts.old_writer import OldWriter
from tests.integration.parts.processes import free_port, until
from tests.integration.parts.site import SetConnection, site
from tests.integration.parts.sshd import Sshd
from tests.integration.parts.units import forget_units, sshd_with_units

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROWS = 1_000
MANY_ROWS = int(os.environ.get("NEWTON_ROWS", "1000000"))
EXPAND, MIGRATE, CONTRACT = Phase.EXPAND, Phase.MIGRATE, Phase.CONTRACT
NEW_MEMBER = """
INSERT INTO image_members (image_id, member, can_share, created_at, deleted, status)
VALUES ('{image}', 'a friend', 0, '2017-01-01', 0, 'accepted')
"""
NOTHING = Differences(lost=0, added=0, changed=0, wrong_visibility=0, members=0)
log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One whose nodes run phases as real processes."""
    with sshd_with_units(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def manage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manage command of Ocata."""
    folder = tmp_path_factory.mktemp("ocata")
    return pinned(folder, unpacked(folder, from_environment(), CARRIER))


@pytest.fixture(scope="module")
def newton(tmp_path_factory: pytest.TempPathFactory, manage: Path, database_server: MariaDB) -> bytes:
    """The statements that make Newton's tables."""
    return newton_schema(tmp_path_factory.mktemp("newton"), manage, database_server)


@pytest.fixture
def small_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceProfile:
    profile = fleets.profile(tmp_path / "node", free_port())
    Path(profile.root).mkdir()
    return know_ocata(tmp_path, profile, monkeypatch)


@pytest.fixture
def upgrade(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_connection: SetConnection,
    ssh_server: Sshd,
    small_service: ServiceProfile,
    database: MariaDB,
    manage: Path,
    newton: bytes,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Upgrade]:
    """Newton's tables without rows, and three nodes on Newton, with Ocata beside it."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("ROLLING_UPGRADE_FLEETS", str(tmp_path / "fleets"))
    forget_units(ssh_server)
    make_newton(database, newton)
    with (
        site(tmp_path, small_service, ssh_server, set_connection) as made,
        ExitStack() as services,
    ):
        for lb in made.balancers:
            for node in made.fleet.nodes:
                lb.point(node.server_name, node.address, small_service.port)
        upgrade = Upgrade(made, database, monkeypatch, tmp_path / "templates", services)
        upgrade.install(manage)
        upgrade.serve_on(OLD)
        yield upgrade
    forget_units(ssh_server)
    database.run(f"DROP DATABASE IF EXISTS {WITNESS}")


def test_newton_becomes_ocata_under_an_old_writer_and_no_row_changes_its_meaning(
    upgrade: Upgrade, database: MariaDB
) -> None:
    fill(database, ROWS)
    assert upgrade.check() == 3
    with OldWriter(database, ROWS) as writer:
        assert upgrade.run(EXPAND)["did"] == f"expand is complete: the schema is at {EXPANDED}"
        assert upgrade.check() == 4
        assert upgrade.rows_left() > ROWS // 2

        assert upgrade.run(MIGRATE)["db_check"] == 5
        assert upgrade.rows_left() == 0

        upgrade.serve_on(NEW)
        with pytest.raises(PrecheckError, match="a database session of the service's user comes from localhost, which"):
            upgrade.begin(CONTRACT)
        assert not upgrade.unit(CONTRACT).folder.exists()
    upgrade.run(CONTRACT)

    assert upgrade.check() == 0
    assert upgrade.heads() == (CONTRACTED,)
    assert len(writer.writes) > 100
    tell_witness(database, writer.writes)
    assert differences(database) == NOTHING


def test_a_killed_migration_is_told_and_the_next_try_ends_right(
    upgrade: Upgrade, database: MariaDB, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(database, ROWS)
    upgrade.run(EXPAND)
    # A transaction of the old release has one image, and the migration waits for it in the middle of its work.
    public = database.run("SELECT id FROM images WHERE is_public ORDER BY id", schema=SCHEMA)
    with closing(database.connect(SERVICE, SCHEMA)) as open_transaction:
        cursor = open_transaction.cursor()
        cursor.execute("START TRANSACTION")
        cursor.execute("SELECT id FROM images WHERE id = %s FOR UPDATE", public[200])
        upgrade.begin(MIGRATE)
        trigger, wait = upgrade.trigger(MIGRATE), upgrade.wait()
        until(lambda: trigger.poll(wait) is None and " s to go" in trigger._said, "progress", seconds=30)
        assert upgrade.rows_left() == ROWS - 200
        os.kill(upgrade.unit(MIGRATE).pid, signal.SIGKILL)
        said = upgrade.failure(MIGRATE)
        open_transaction.rollback()

    assert "migrate has ended (signal, status 9) and db check says 4 (migrate_needed), 800 rows are left" in said
    assert upgrade.run(MIGRATE)["db_check"] == 5
    told = capsys.readouterr().out
    assert re.search(r"migrate-2\.0\.0\.service is running: 800 rows left, \d+ rows/s, about \d+ s to go", told)
    assert "an earlier try of small-db-migrate-2.0.0.service ended; it is started again" in told
    assert differences(database) == NOTHING


def test_contract_without_the_data_migration_is_refused(upgrade: Upgrade, database: MariaDB) -> None:
    fill(database, ROWS)
    upgrade.run(EXPAND)
    upgrade.serve_on(NEW)

    with pytest.raises(PrecheckError, match=r"db check says 4 \(migrate_needed\), \d+ rows are left") as caught:
        upgrade.begin(CONTRACT)

    assert "clear migrate" in caught.value.next_step
    assert not upgrade.unit(CONTRACT).folder.exists()
    # Glance itself, where somebody goes past the workflow:
    with NodeHook.from_connection(upgrade.site.fleet.node("node1")).connected() as node:
        RemotePhase(node, upgrade.site.profile, NEW, CONTRACT).start()
    said = upgrade.failure(CONTRACT)
    assert "contract ended with exit-code, status 1; the schema is at ocata_expand01" in said
    assert "contraction cannot be run before data migration is complete" in said
    assert database.run("SHOW COLUMNS FROM images LIKE 'is_public'", schema=SCHEMA)


def test_a_member_that_the_old_release_adds_after_the_migration_holds_contract_until_migrated(
    upgrade: Upgrade, database: MariaDB
) -> None:
    fill(database, ROWS)
    upgrade.run(EXPAND)
    upgrade.run(MIGRATE)
    private = "SELECT MIN(id) FROM images WHERE visibility = 'private'"
    ((image,),) = database.run(private, schema=SCHEMA)
    for schema in (SCHEMA, WITNESS):
        database.run(NEW_MEMBER.format(image=image), schema=schema)

    upgrade.serve_on(NEW)
    with pytest.raises(PrecheckError, match=r"db check says 4 \(migrate_needed\), 1 rows are left"):
        upgrade.begin(CONTRACT)

    assert upgrade.run(MIGRATE)["db_check"] == 5
    assert upgrade.rows_left() == 0
    assert differences(database) == NOTHING


def test_a_phase_that_is_killed_once_its_work_is_done_counts_as_done(upgrade: Upgrade) -> None:
    upgrade.run(EXPAND)
    (upgrade.unit(EXPAND).folder / "status").write_text(str(-signal.SIGKILL))
    assert "expand ended with signal, status 9; the schema is at ocata_expand01" in upgrade.failure(EXPAND)

    assert upgrade.begin(EXPAND)["changed"] is False
    assert upgrade.finish(EXPAND)["did"] == "expand is complete: the schema is at ocata_expand01"


BY_HAND = """
UPDATE images SET visibility = CASE WHEN is_public THEN 'public'
    WHEN id IN (SELECT image_id FROM image_members WHERE NOT deleted) THEN 'shared' ELSE 'private' END
"""
# Each is what one mistake of a migration would leave behind, with what the comparison says after it and those before.
DAMAGES = {
    "DELETE FROM images WHERE id = MD5(100)": (1, 0, 0, 0, 0),
    "UPDATE images SET id = 'another' WHERE id = MD5(1)": (2, 1, 0, 0, 0),
    "UPDATE images SET name = '' WHERE id = MD5(13)": (2, 1, 1, 0, 0),
    "UPDATE images SET visibility = 'shared' WHERE id = MD5(3)": (2, 1, 1, 1, 0),
    "UPDATE images SET visibility = 'private' WHERE id = MD5(7)": (2, 1, 1, 2, 0),
    "UPDATE images SET visibility = 'shared' WHERE id = MD5(11)": (2, 1, 1, 3, 0),
    "UPDATE images SET visibility = NULL WHERE id = MD5(2)": (2, 1, 1, 4, 0),
    "UPDATE image_members SET deleted = 1 WHERE image_id = MD5(14)": (2, 1, 1, 4, 1),
    "DELETE FROM image_members WHERE image_id = MD5(7)": (2, 1, 1, 4, 2),
}


def test_the_comparison_with_the_witness_sees_every_damage(database: MariaDB, newton: bytes) -> None:
    make_newton(database, newton)
    fill(database, 100)
    column = "ALTER TABLE images ADD COLUMN visibility ENUM('private', 'public', 'shared', 'community')"
    database.run(column, BY_HAND, schema=SCHEMA)
    assert differences(database) == NOTHING
    for damage, seen in DAMAGES.items():
        database.run(damage, schema=SCHEMA)
        assert differences(database) == Differences(*seen), damage
    database.run(f"DROP DATABASE {WITNESS}")


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_a_million_rows_under_an_old_writer_with_a_kill_in_the_middle(
    upgrade: Upgrade, database: MariaDB, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade = replace(upgrade, seconds=900)
    database.run("SET GLOBAL innodb_buffer_pool_size = 512 * 1024 * 1024")
    clock = Clock()
    fill(database, MANY_ROWS)
    clock.lap("fill")
    with OldWriter(database, MANY_ROWS) as writer:
        upgrade.run(EXPAND)
        clock.lap("expand", writer)
        upgrade.begin(MIGRATE)
        trigger, wait = upgrade.trigger(MIGRATE), upgrade.wait()
        until(
            lambda: trigger.poll(wait) is None and upgrade.rows_left() < MANY_ROWS * 0.8,
            "the migration to be under way",
            seconds=600,
        )
        os.kill(upgrade.unit(MIGRATE).pid, signal.SIGKILL)
        with pytest.raises(VerifyError, match=r"migrate has ended \(signal, status 9\) and db check says 4"):
            trigger.poll(wait)
        clock.lap(f"until the kill ({trigger._said})", writer)
        assert upgrade.run(MIGRATE)["db_check"] == 5
        clock.lap("migrate again", writer)
    upgrade.serve_on(NEW)
    upgrade.run(CONTRACT)
    clock.lap("contract")
    assert upgrade.check() == 0
    tell_witness(database, writer.writes)
    assert differences(database) == NOTHING
    assert re.search(r"is running: \d+ rows left, \d+ rows/s, about \d+ s to go", capsys.readouterr().out)


class Clock:
    """Tells in the log what each part took."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def lap(self, what: str, writer: OldWriter | None = None) -> None:
        waited = f"; the old writer's slowest write took {writer.slowest:.1f} s" if writer else ""
        log.info("%s: %.1f s%s", what, time.monotonic() - self._began, waited)
        self._began = time.monotonic()
